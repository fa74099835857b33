"""What an agent has published after a recording's end, and the report that takes it in."""

from __future__ import annotations

import io
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

import pyprof
from pyprof import _native, loading
from pyprof.cli import main
from pyprof.layout import AGENT_KEY, SAMPLER
from pyprof.runfolder import this_process
from pyprof.segments import AGENT, name_of
from pyprof.store import Batch, Head, Store

S = 10**9
POWER_W = 80.0


def record(
    path: Path, source: str, span_ns: tuple[int, int], end_ns: int, first: int = 0, **meta: str
) -> None:
    """Joules of a processor as a counter shows them each second of ``span_ns``.

    ``first``: how many readings the one who samples had taken before.
    """
    here = this_process(SAMPLER, "training", "work")
    times = list(range(*span_ns, S))
    channel = _native.Channel(
        id="package-0",
        domain="package",
        device="processor",
        source=source,
        unit=1.0,
        limit_w=500.0,
    )
    frame = _native.make_frame(
        channel=0,
        first_seq=first,
        last_old_ns=[times[0] - S if first else times[0], *times[:-1]],
        first_new_ns=times,
        at_ns=times,
        raw=[round(POWER_W * t / S) for t in times],
        first_flags=0 if first else 1,
        last_read_ns=times[-1],
        period_ns=S,
        interval_ns=S,
    )
    head = Head({"run_id": source, **meta}, replace(here, start_ns=span_ns[0]), (), [channel], 1)
    store = Store(path, head)
    store.begin(span_ns[0])
    assert store.commit(Batch(end_ns, frames=frame))
    store.finish(end_ns, 0, None)
    store.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 20 s, of which its agent had published 9 s by then, and the rest later."""
    published = tmp_path / "published"
    published.mkdir(mode=0o700)
    now_ns = time.monotonic_ns()
    start_ns = now_ns - now_ns % S - 30 * S
    out = tmp_path / "run.pyprof"
    kept = {AGENT_KEY: str(published)}
    record(out, AGENT, (start_ns, start_ns + 9 * S), start_ns + 20 * S, **kept)
    for first in (0, 10, 20):
        span_ns = start_ns + first * S, start_ns + (first + 10) * S
        record(published / name_of(*span_ns), "powercap", span_ns, span_ns[1], first)
    return out


def report(file: Path) -> tuple[str, str]:
    """What the command prints, and says beside."""
    out, said = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(said):
        assert main(["report", str(file), "--json"]) == 0
    return out.getvalue(), said.getvalue()


def test_the_rest_is_added_and_kept_by_one_load(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pyprof.load(run).report()
    assert before.channels["package-0"].coverage < 0.5
    loaded = []
    genuine = loading.load_file
    monkeypatch.setattr(loading, "load_file", lambda file: loaded.append(file) or genuine(file))
    printed, said = report(run)
    assert loaded == [run]
    assert "is now in" in said
    monkeypatch.undo()
    after = pyprof.load(run)
    assert after.defects == ()
    channel = after.report().channels["package-0"]
    assert channel.coverage == pytest.approx(1.0, abs=0.01)
    assert channel.energy_j == pytest.approx(20 * POWER_W, abs=POWER_W)
    assert f'"energy_j": {channel.energy_j}' in printed
    # There is nothing more to come: the file stays as it is.
    kept = run.stat()
    again, said = report(run)
    assert (again, said) == (printed, "")
    assert run.stat().st_ino == kept.st_ino


def test_a_file_that_cannot_be_changed_is_reported_with_the_rest(run: Path) -> None:
    link = run.with_name("link.pyprof")
    link.symlink_to(run)
    before = run.read_bytes()
    printed, said = report(link)
    assert '"coverage": 1.0' in printed
    assert said == ""
    assert run.read_bytes() == before
