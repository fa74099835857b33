"""Sealed blocks and roll-ups hold what the readings held."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
from soak.simulated import START_NS, S, head_of, node

import pyprof
from pyprof import _native, rollups
from pyprof.layout import MOST_CHANGES, PAGE_BYTES, Rollup
from pyprof.recording import Recording
from pyprof.store import Batch, Store

SIGNAL = """
[[channel]]
id = "fast"
domain = "package"
kind = "square"
period_s = 0.31
high_w = 200.0
low_w = 40.0
sensor = { period_s = 0.001, quantum_j = 1e-5 }

[[channel]]
id = "slow"
domain = "gpu"
kind = "constant"
watts = 300.0
sensor = { period_s = 0.1 }
"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough, and read often enough, for several blocks of the fast channel."""
    folder = tmp_path_factory.mktemp("busy")
    (folder / "signals.toml").write_text(SIGNAL, encoding="utf-8")
    out = folder / "run.pyprof"
    signals = str(folder / "signals.toml")
    with pyprof.Profiler(out=out, simulate=signals, interval=0.0005) as prof:
        end = time.monotonic() + 6.0
        while time.monotonic() < end:
            with prof.stage("step"):
                time.sleep(0.01)
    return out


def changes(recording: Recording) -> int:
    return sum(block.count for block in recording.blocks if block.channel == 0)


def test_blocks_are_sealed_while_the_run_lasts_and_fit_a_page(busy: Path) -> None:
    recording = pyprof.load(busy)
    fast = [block for block in recording.blocks if block.channel == 0]
    assert changes(recording) > 1000
    assert len(fast) >= changes(recording) // MOST_CHANGES
    assert max(block.count for block in fast) <= MOST_CHANGES
    assert recording.tail == ()
    connection = sqlite3.connect(busy)
    (largest,) = connection.execute("SELECT max(length(data)) FROM block_data").fetchone()
    connection.close()
    assert largest < PAGE_BYTES


def test_a_stored_change_is_small(busy: Path) -> None:
    recording = pyprof.load(busy)
    connection = sqlite3.connect(busy)
    (size,) = connection.execute(
        "SELECT sum(length(data)) FROM block_data JOIN block USING(id) WHERE channel=0"
    ).fetchone()
    connection.close()
    assert size / changes(recording) < 6.5


def test_sealing_loses_no_joule(busy: Path) -> None:
    """The counter's own difference, from the first to the last reading."""
    report = pyprof.load(busy).report()
    slow = report.channels["slow"]
    assert slow.energy_j == pytest.approx(300.0 * report.run.duration_s, rel=0.002)
    assert report.channels["fast"].mean_w == pytest.approx(120.0, rel=0.03)
    assert not [event for event in report.events if event.kind == "gap"]


def ladder_of(
    recording: Recording, seal_every: int, monkeypatch: pytest.MonkeyPatch
) -> list[Rollup]:
    """Roll-ups of the fast channel in grains of seconds, closed at several times."""
    monkeypatch.setattr(rollups, "GRAINS_S", (1, 2, 4))
    start_ns = recording.start_ns
    ladder = rollups.Ladder(0, recording.channels[0], start_ns, start_ns)
    waiting: list[bytes] = []
    made: list[Rollup] = []
    blocks = [block for block in recording.blocks if block.channel == 0]
    for number, frame in enumerate(recording.shelf.frames(blocks)):
        assert frame is not None
        waiting.append(frame)
        if number % seal_every == 0:
            ladder, closed, _ = ladder.climb(waiting, blocks[number].last_ns)
            made += closed
            waiting = []
    _, closed, _ = ladder.climb(waiting, recording.end_ns, last=True)
    return made + closed


@pytest.mark.parametrize("seal_every", [1, 2, 1000])
def test_rollups_add_up_to_the_total(
    busy: Path, seal_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = pyprof.load(busy)
    account = _native.Account(recording.channels, recording.start_ns, recording.end_ns, "training")
    for frames in recording.frames():
        account.add_frames(frames)
    total_j = account.solve()["channels"][0]["energy_j"]
    # The account places the changes nearest to the run's two ends by all readings near them;
    # roll-ups leave them as they were read: an update of 1 ms of 200 W at each end.
    ends_j = 2 * 200.0 * 0.001
    made = ladder_of(recording, seal_every, monkeypatch)
    sums_j: list[float] = []
    for grain_s in (1, 2, 4):
        rows = [row for row in made if row.grain_s == grain_s]
        starts = [row.start_ns - recording.start_ns for row in rows]
        assert starts == [k * grain_s * 10**9 for k in range(len(rows))]
        assert len(rows) >= 2
        sums_j.append(sum(row.energy_j or 0.0 for row in rows))
        assert sums_j[-1] == pytest.approx(total_j, abs=ends_j)
    assert sums_j == pytest.approx([sums_j[0]] * 3, rel=1e-12)


def test_the_recording_holds_its_rollups(busy: Path) -> None:
    recording = pyprof.load(busy)
    report = recording.report()
    for index, channel in enumerate(report.channel_rows):
        for grain_s in rollups.GRAINS_S:
            rows = recording.shelf.rollups([(index, grain_s, recording.start_ns, 1 << 62)])
            total_j = sum(row.energy_j or 0.0 for row in rows)
            assert total_j == pytest.approx(channel.energy_j, rel=1e-3)
            covered_s = sum(row.covered_s for row in rows)
            assert covered_s == pytest.approx(report.run.duration_s, rel=0.05)


def test_a_kill_before_the_start_was_written_counts_from_the_first_reading(tmp_path: Path) -> None:
    sensors = node(gpus=1, sockets=0)
    head = head_of(sensors)
    process = replace(head.process, start_ns=None, mono_ns=START_NS - 5 * S)
    store = Store(tmp_path / "cut.pyprof", replace(head, process=process))
    frames = sensors[0].frame(0, START_NS) + sensors[0].frame(0, START_NS + 10 * S)
    assert store.commit(Batch(START_NS + 10 * S, frames=frames))
    store.close()
    recording = pyprof.load(tmp_path / "cut.pyprof")
    assert recording.start_ns == START_NS
    report = recording.report()
    assert report.channels["gpu0"].coverage == pytest.approx(1.0)
    assert report.energy_j == pytest.approx(sensors[0].total_j, rel=0.02)
