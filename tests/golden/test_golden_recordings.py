"""Recordings of every schema that there was stay readable, with the numbers that they had."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import pyprof
from pyprof import _native
from pyprof.energy import Channel, Total
from pyprof.layout import VERSION
from pyprof.loading import FOLDER_SUFFIX, NODE_FILE
from pyprof.recording import Recording
from pyprof.runfolder import fold
from pyprof.salvage import recover

_KEPT = Path(__file__).parent / "recordings"
_NAMES = sorted(path.name.removesuffix(".pyprof.gz") for path in _KEPT.glob("*.gz"))


def test_every_schema_has_one() -> None:
    assert {name.split("-")[1] for name in _NAMES} == {str(n) for n in range(1, VERSION + 1)}


def unpack(name: str, path: Path) -> Path:
    path.write_bytes(gzip.decompress((_KEPT / f"{name}.pyprof.gz").read_bytes()))
    return path


def agrees(found: Total | Channel, energy_j: float) -> bool:
    """What was said of it once lies within the interval that is said of it today, a narrow one.

    How the edges between readings are found gets better; the readings stay what they were.
    """
    assert found.energy_j is not None
    assert found.low_j is not None
    assert found.high_j is not None
    assert found.high_j - found.low_j < 0.1 * found.energy_j
    return found.low_j <= energy_j <= found.high_j


def readings_of(recording: Recording) -> list[list[int]]:
    """Of each channel how many changes there are, and the last time that it was read."""
    found = [[0, 0] for _ in recording.channels]
    for frames in recording.frames():
        for channel, _, count, _, last_ns in _native.frame_info(frames):
            found[channel] = [found[channel][0] + count, max(found[channel][1], last_ns)]
    return found


def check(name: str, path: Path) -> None:
    truth = json.loads((_KEPT / f"{name}.json").read_text(encoding="utf-8"))
    recording = pyprof.load(path)
    report = recording.report()
    assert recording.defects == ()
    assert readings_of(recording) == truth["readings"]
    assert agrees(report.total, truth["energy_j"])
    assert report.run.complete is truth["complete"]
    assert report.run.duration_s == pytest.approx(truth["duration_s"], abs=1e-6)
    assert report.footprint is not None
    assert [factor.zone for factor in report.footprint.factors] == truth["zone_factors"]
    assert report.channels.keys() == truth["channels"].keys()
    for name, energy_j in truth["channels"].items():
        assert agrees(report.channels[name], energy_j)
    stages = {s.path: (s.count, s.cut) for s in report.stage_rows}
    assert stages == {path: (row[0], row[3]) for path, row in truth["stages"].items()}
    for path, (_, duration_s, energy_j, _) in truth["stages"].items():
        assert report.stages[path].duration_s == pytest.approx(duration_s, abs=1e-6)
        assert report.stages[path].energy_j == pytest.approx(energy_j, rel=0.01)
    events = [[e.kind, e.channel, e.count, e.text] for e in report.events]
    assert [event for event in truth["events"] if event not in events] == []
    assert {event[0] for event in events if event not in truth["events"]} <= {"note"}


@pytest.mark.parametrize("name", _NAMES)
def test_read(name: str, tmp_path: Path) -> None:
    check(name, unpack(name, tmp_path / "run.pyprof"))


@pytest.mark.parametrize("name", _NAMES)
def test_fold_into_the_present_schema(name: str, tmp_path: Path) -> None:
    """The folder of a run that an older version began."""
    folder = tmp_path / f"run.pyprof{FOLDER_SUFFIX}"
    folder.mkdir()
    unpack(name, folder / NODE_FILE)
    check(name, fold(folder, tmp_path / "run.pyprof"))


@pytest.mark.parametrize("name", _NAMES)
def test_recover_into_the_present_schema(name: str, tmp_path: Path) -> None:
    saved = recover(unpack(name, tmp_path / "run.pyprof"), tmp_path / "new.pyprof")
    assert all("how much there was" in loss for loss in saved.losses)
    recording = pyprof.load(tmp_path / "new.pyprof")
    assert recording.defects == ()
    truth = json.loads((_KEPT / f"{name}.json").read_text(encoding="utf-8"))
    assert readings_of(recording) == truth["readings"]
    assert agrees(recording.report().total, truth["energy_j"])
