"""Long recordings: roll-ups stand for readings, old readings are given up, energy stays exact."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from soak.simulated import START_NS, S, Sensor, head_of, mark_frame, node, record, stages

import pyprof
from pyprof import _native, reading, selection
from pyprof.energy import EnergyReport
from pyprof.joining import load_folder
from pyprof.layout import PAGE_BYTES
from pyprof.recording import Recording
from pyprof.runfolder import fold
from pyprof.salvage import recover
from pyprof.shelf import FileShelf
from pyprof.store import Batch, Store

HOURS = 5
EVENTS = ("wrap", "gap", "reset")


def make(out: Path, keep_raw_s: float | None = None) -> list[Sensor]:
    sensors = node(gpus=2, sockets=1)
    marks = list(stages(6, START_NS + 611 * S, 2410 * S))
    record(out, sensors, HOURS * 3600, commit_s=20.0, marks=marks, keep_raw_s=keep_raw_s)
    return sensors


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("weeks") / "whole.pyprof"
    make(out)
    return out


def test_a_commit_of_many_changes_keeps_blocks_in_order(tmp_path: Path) -> None:
    """As after a disk that hardly answered, or another program that held the file for long."""
    out = tmp_path / "late.pyprof"
    sensors = [Sensor("package-0", "package", S // 100, 2.0**-14, 1 << 32, 40.0, 280.0, seed=7)]
    record(out, sensors, 400.0, commit_s=65.0)
    recording = pyprof.load(out)
    assert recording.defects == ()
    starts = [block.first_seq for block in recording.blocks]
    assert starts == sorted(starts)
    rolled = recording.shelf.rollups([(0, 60, recording.start_ns, 1 << 60)])
    assert sum(row.energy_j or 0.0 for row in rolled) == pytest.approx(sensors[0].total_j, rel=1e-3)
    assert recording.report().energy_j == pytest.approx(sensors[0].total_j, rel=1e-4)


def planned(path: Path, monkeypatch: pytest.MonkeyPatch) -> EnergyReport:
    """As if the recording were a long one."""
    for module in (reading, selection):
        monkeypatch.setattr(module, "SHORT_CHANGES", 1000)
    recording = pyprof.load(path)
    assert isinstance(recording.shelf, FileShelf)
    report = recording.report()
    monkeypatch.undo()
    return report


def check_same(left: EnergyReport, right: EnergyReport) -> None:
    assert left.energy_j == pytest.approx(right.energy_j, rel=1e-12)
    for id, channel in left.channels.items():
        other = right.channels[id]
        assert channel.energy_j == pytest.approx(other.energy_j, rel=1e-12)
        assert channel.peak_w == pytest.approx(other.peak_w, rel=1e-6)
        assert channel.coverage == pytest.approx(other.coverage, abs=1e-9)
        assert channel.update_period_s == other.update_period_s
    for one, other_stage in zip(left.stage_rows, right.stage_rows, strict=True):
        assert (one.path, one.count) == (other_stage.path, other_stage.count)
        assert one.energy_j == pytest.approx(other_stage.energy_j, rel=1e-9)
        assert one.high_j == pytest.approx(other_stage.high_j, rel=1e-4)
    found = [(e.kind, e.channel, e.count) for e in left.events if e.kind in EVENTS]
    assert found == [(e.kind, e.channel, e.count) for e in right.events if e.kind in EVENTS]


def test_a_report_that_rests_on_rollups_is_the_same(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = planned(whole, monkeypatch)
    check_same(report, pyprof.load(whole).report())
    assert any(event.kind == "wrap" for event in report.events)


def test_it_reads_few_blocks(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    kept = FileShelf.frames

    def count(self: FileShelf, blocks: list[object]) -> object:
        read.append(len(blocks))
        return kept(self, blocks)  # type: ignore[arg-type]

    monkeypatch.setattr(FileShelf, "frames", count)
    for module in (reading, selection):
        monkeypatch.setattr(module, "SHORT_CHANGES", 1000)
    recording = pyprof.load(whole)
    recording.report(start_ns=START_NS + 60 * S, end_ns=START_NS + 400 * S)
    assert 0 < sum(read) < len(recording.blocks) / 8
    # Of the blocks no more is taken in than the minutes around the two ends: 20 changes a second.
    chosen = selection.select(recording, [START_NS + 600 * S, START_NS + 9000 * S])
    infos = [info for frame in chosen.frames for info in _native.frame_info(frame)]
    assert sum(info[2] for info in infos) < 2 * 130 * 21 + len(infos) * 16


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM rollup WHERE grain_s=3600",
        "DELETE FROM rollup WHERE grain_s>60 OR start_ns % 7 < 3",
        "DELETE FROM rollup",
        "UPDATE rollup SET energy_j=energy_j+1 WHERE grain_s=60",
    ],
)
def test_without_rollups_the_readings_are_taken(
    statement: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.pyprof"
    copy.write_bytes(whole.read_bytes())
    connection = sqlite3.connect(copy)
    connection.execute(statement)
    connection.commit()
    connection.close()
    report = planned(copy, monkeypatch)
    assert report.energy_j == pytest.approx(pyprof.load(whole).report().energy_j, rel=1e-9)


def test_readings_given_up_leave_the_energy_exact(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "thin.pyprof"
    make(out, keep_raw_s=1800)
    thin, truth = pyprof.load(out), pyprof.load(whole).report()
    assert thin.defects == ()
    assert out.stat().st_size < whole.stat().st_size / 2
    fast = [block for block in thin.blocks if block.channel == 0]
    assert fast[0].first_ns > START_NS + (HOURS * 3600 - 3600) * S
    report = thin.report()
    assert report.energy_j == pytest.approx(truth.energy_j, rel=1e-9)
    for id, channel in report.channels.items():
        assert channel.energy_j == pytest.approx(truth.channels[id].energy_j, rel=1e-9)
        assert channel.coverage == pytest.approx(1.0, abs=1e-4)
    stage, known = report.stages["step"], truth.stages["step"]
    assert stage.count == known.count == 6
    # Known to the minute at its ends, and said so.
    assert stage.low_j < known.energy_j < stage.high_j
    assert stage.energy_j == pytest.approx(known.energy_j, rel=0.02)
    assert stage.high_j - stage.energy_j > known.high_j - known.energy_j


def test_a_part_that_was_given_up_is_known_to_the_minute(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "thin.pyprof"
    make(out, keep_raw_s=1800)
    start_ns, end_ns = START_NS + 1234 * S, START_NS + 5678 * S
    report = pyprof.load(out).report(start_ns=start_ns, end_ns=end_ns)
    truth = pyprof.load(whole).report(start_ns=start_ns, end_ns=end_ns)
    assert report.low_j <= truth.energy_j <= report.high_j
    assert report.energy_j == pytest.approx(truth.energy_j, rel=0.02)


def test_a_thinned_recording_can_be_recovered(tmp_path: Path) -> None:
    out = tmp_path / "thin.pyprof"
    make(out, keep_raw_s=1800)
    truth = pyprof.load(out).report()
    saved = recover(out, tmp_path / "new.pyprof")
    assert saved.losses == ()
    assert pyprof.load(tmp_path / "new.pyprof").report().energy_j == pytest.approx(
        truth.energy_j, rel=1e-9
    )


def test_a_stored_change_is_small(tmp_path: Path) -> None:
    """The whole file, its page for each table left out; the power and the stamps are noisy."""
    out = tmp_path / "size.pyprof"
    sensors = node(gpus=8, sockets=2)
    record(out, sensors, 3600.0, commit_s=20.0)
    changes = sum(sensor.seq for sensor in sensors)
    assert (out.stat().st_size - 16 * PAGE_BYTES) / changes < 5.5


def test_a_counter_that_rests_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minutes are not closed before the counter has moved on."""
    sensors = [Sensor("slow", "gpu", 400 * S, 1e-3), Sensor("fast", "gpu", S // 10, 1e-3)]
    out = tmp_path / "slow.pyprof"
    marks = [(START_NS + 9000 * S, mark_frame(0, START_NS + 3000 * S, START_NS + 9000 * S))]
    record(out, sensors, 4 * 3600, commit_s=20.0, marks=marks)
    check_same(planned(out, monkeypatch), pyprof.load(out).report())


def test_readings_given_up_before_another_took_over_stay_exact(tmp_path: Path) -> None:
    truth = taken_over(tmp_path / "whole.pyprof.d", None).report()
    folder = tmp_path / "run.pyprof.d"
    joined = taken_over(folder, 1800)
    assert joined.thinned
    report = joined.report()
    assert report.energy_j == pytest.approx(truth.energy_j, rel=1e-9)
    for id, channel in report.channels.items():
        assert channel.energy_j == pytest.approx(truth.channels[id].energy_j, rel=1e-9)
        assert channel.coverage == pytest.approx(truth.channels[id].coverage, abs=1e-4)
    # The one file that is made of them says the same.
    folded = pyprof.load(fold(folder, tmp_path / "run.pyprof"))
    assert folded.defects == ()
    assert folded.thinned == joined.thinned
    check_same(folded.report(), report)


def taken_over(folder: Path, keep_raw_s: float | None) -> Recording:
    """A process samples for two hours and is killed, another one does so for two more."""
    folder.mkdir()
    sensors = node(gpus=1, sockets=1)
    marks = list(stages(6, START_NS + 611 * S, 2410 * S))
    out = folder / "node.pyprof"
    record(
        out, sensors, 7200, commit_s=20.0, keep_raw_s=keep_raw_s, finish=False, marks=marks
    ).close()
    succeed(folder / "node-2-1.pyprof", sensors, 7200, 2 * 7200)
    return load_folder(folder)


def succeed(path: Path, sensors: list[Sensor], from_s: int, to_s: int) -> None:
    """Another process samples on, and ends in good order."""
    start_ns = START_NS + from_s * S
    head = head_of(sensors)
    process = replace(head.process, pid=4243, start_ns=start_ns)
    store = Store(path, replace(head, process=process, incidents=(), meta={"run_id": "1" * 32}))
    store.begin(start_ns)
    first = [sensor.begin_anew(i, start_ns) for i, sensor in enumerate(sensors)]
    assert store.commit(Batch(start_ns, frames=b"".join(first)))
    for now_ns in range(start_ns + 20 * S, START_NS + to_s * S + 1, 20 * S):
        frames = b"".join(sensor.frame(i, now_ns) for i, sensor in enumerate(sensors))
        assert store.commit(Batch(now_ns, frames=frames))
    store.finish(START_NS + to_s * S, 0, None)
    store.close()
