"""Every write and sync of a recording failing in turn: nothing is raised, nothing written is lost.

    cd tools; python -m soak.disk            every call, every fault
    cd tools; python -m soak.disk --step 9   every ninth

Runs itself again under a preloaded library (``disk_faults.c``, built here) that makes calls fail.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyprof
from pyprof.errors import PyprofError
from pyprof.reading import read
from pyprof.store import Batch, Store
from soak.simulated import START_NS, S, head_of, mark_frame, node

SHORT, SLOW = -1, -2
FAULTS = {
    "ENOSPC": errno.ENOSPC,
    "EIO": errno.EIO,
    "EROFS": errno.EROFS,
    "EDQUOT": errno.EDQUOT,
    "short": SHORT,
}
FOREVER = 1 << 40
_COMMITS = 12


def build(folder: Path) -> Path:
    """The library to preload."""
    out = folder / "disk_faults.so"
    source = Path(__file__).with_name("disk_faults.c")
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or "cc"
    words = [compiler, "-shared", "-fPIC", "-O1", "-o", str(out), str(source), "-ldl"]
    subprocess.run(words, check=True)
    return out


def set_fault(library: ctypes.CDLL, kind: int = 0, first: int = 0, count: int = 0) -> int:
    """What fails from now on; how many calls there were since the last time."""
    call = library.disk_fault
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long] * 3
    return int(call(kind, first, count))


def run_case(folder: Path, fallback: Path | None) -> tuple[float, int, Store]:
    """A recording of twelve commits. Joules and stages as the store itself knows them."""
    sensors = node(gpus=1, sockets=1)
    store = Store(folder / "run.pyprof", head_of(sensors), fallback=fallback)
    store.begin(START_NS)
    for number in range(_COMMITS):
        now_ns = START_NS + number * 40 * S
        frames = b"".join(sensor.frame(i, now_ns) for i, sensor in enumerate(sensors))
        marks = [mark_frame(number - 1, now_ns - 30 * S, now_ns - 5 * S)] if number else []
        # A failed commit is not tried again: it has gone on in another place.
        assert store.commit(Batch(now_ns, frames=frames, marks=marks))
    end_ns = START_NS + (_COMMITS - 1) * 40 * S
    store.finish(end_ns, 0, None)
    with store.session() as connection:
        recording = read(connection, None, None, live=False)
    store.close()
    report = recording.report()
    assert recording.complete
    assert recording.defects == (), recording.defects
    return report.energy_j or 0.0, report.stages["step"].count, store


def check_left(folder: Path, truth_j: float, store: Store) -> str:
    """What is under the name of the recording: nothing, or something good."""
    out = folder / "run.pyprof"
    if not out.exists():
        assert store.lost is not None
        assert [each.name for each in folder.iterdir() if each.suffix == ".tmp"] == []
        return "none"
    try:
        recording = pyprof.load(out)
    except PyprofError as error:
        raise AssertionError(f"the recording is lost: {error}") from error
    assert recording.defects == (), recording.defects
    report = recording.report()
    if store.lost is None:
        assert report.energy_j == truth_j
        return "whole"
    assert not recording.complete
    assert (report.energy_j or 0.0) <= truth_j * 1.0001
    return "part"


def check_faults(step: int, names: Sequence[str], *, fallback: bool) -> dict[str, int]:
    """Every ``step``-th call failing, once and for good; how often what was left."""
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    left: dict[str, int] = {}
    for name in names:
        for count in (1, FOREVER):
            first, calls = 1, 1 << 40
            while first <= calls:
                with tempfile.TemporaryDirectory() as place:
                    folder = Path(place) / "first"
                    folder.mkdir()
                    other = Path(place) / "other" / "run.pyprof" if fallback else None
                    said = io.StringIO()
                    with contextlib.redirect_stderr(said):
                        set_fault(library, FAULTS[name], first, count)
                        joules, stages, store = run_case(folder, other)
                        made = set_fault(library)
                    calls = made if first == 1 and count == 1 else max(calls, made)
                    calls = min(calls, 2000)
                    assert stages == _COMMITS - 1, (name, first, count, stages)
                    lines = said.getvalue().count("\n")
                    assert lines == (store.lost is not None), said.getvalue()
                    kind = check_left(folder, joules, store)
                    left[kind] = left.get(kind, 0) + 1
                    if made < first:
                        break
                first += step
    return left


def main() -> int:
    """All of it, or every ``--step``-th call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--fallback", action="store_true", help="with another place to go on in")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        names = chosen.fault or list(FAULTS)
        left = check_faults(chosen.step, names, fallback=chosen.fallback)
        print(f"{sum(left.values())} cases, 0 harmed; under the name: {left}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LD_PRELOAD": str(build(Path(folder)))}
        words = [sys.executable, "-m", "soak.disk", "--inside", *sys.argv[1:]]
        return subprocess.run(words, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
