"""What is left of a broken recording is saved, and what is not is named."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from soak.simulated import START_NS, S, Sensor, node, record, stages

import pyprof
from pyprof.cli import main
from pyprof.errors import NewerSchemaError, PyprofError, RecordingError
from pyprof.layout import IDENTITY_MAGIC, PAGE_BYTES, open_envelope
from pyprof.salvage import recover


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of three channels with stages, in about forty blocks."""
    out = tmp_path_factory.mktemp("whole") / "run.pyprof"
    marks = list(stages(30, START_NS + 5 * S, 50 * S))
    record(out, node(gpus=3, sockets=1), 1800.0, commit_s=5.0, marks=marks)
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "copy.pyprof"))


def readings(path: Path) -> int:
    recording = pyprof.load(path)
    return sum(block.count for block in recording.blocks)


def test_a_sound_recording_is_recovered_whole(whole: Path, tmp_path: Path) -> None:
    saved = recover(whole, tmp_path / "new.pyprof")
    assert saved.losses == ()
    old, new = pyprof.load(whole), pyprof.load(tmp_path / "new.pyprof")
    assert new.defects == ()
    assert new.complete
    assert new.report().energy_j == old.report().energy_j
    assert new.report().stages["step"].count == 30
    assert new.stats == old.stats
    assert len(new.incidents) == len(old.incidents)


def test_without_its_first_pages(copy: Path, tmp_path: Path) -> None:
    """The header and the schema are gone: SQLite can't open it, the pieces are all there."""
    truth = pyprof.load(copy).report()
    data = bytearray(copy.read_bytes())
    data[: 2 * PAGE_BYTES] = bytes(2 * PAGE_BYTES)
    copy.write_bytes(data)
    with pytest.raises(RecordingError):
        pyprof.load(copy)
    saved = recover(copy, tmp_path / "new.pyprof")
    assert any("SQLite can't open it" in loss for loss in saved.losses)
    report = pyprof.load(tmp_path / "new.pyprof").report()
    assert report.run.complete
    assert report.energy_j == pytest.approx(truth.energy_j, rel=1e-9)
    assert report.stages["step"].count == 30
    assert any("recovered from" in event.text for event in report.events)
    assert not any("not known" in loss for loss in saved.losses)
    # Without the inventory of the end too, the first one can't say how much there was.
    for at in (hit.start() for hit in re.finditer(b"PYI1", bytes(data))):
        _, inventory = open_envelope(bytes(data)[at : at + piece_at(data, at)], IDENTITY_MAGIC)
        if json.loads(inventory)["t_ns"] > START_NS:
            data[at + 30] ^= 1
    copy.write_bytes(data)
    saved = recover(copy, tmp_path / "new.pyprof", overwrite=True)
    assert any("how much there was" in loss for loss in saved.losses)


def piece_at(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at + 4 : at + 8], "little")


def test_truncated(copy: Path, tmp_path: Path) -> None:
    data = copy.read_bytes()
    copy.write_bytes(data[: len(data) * 3 // 4])
    before = 0
    with contextlib.suppress(PyprofError):
        before = readings(copy)
    saved = recover(copy, tmp_path / "new.pyprof")
    assert saved.losses
    assert saved.changes >= max(before, 10_000)
    recording = pyprof.load(tmp_path / "new.pyprof")
    assert any("are lost" in incident.text for incident in recording.incidents)
    assert recording.report().energy_j > 0


def test_zeros_lose_few_blocks(whole: Path, tmp_path: Path) -> None:
    """As good as an own log: of all blocks those that the zeros hit, whatever page it was."""
    data = whole.read_bytes()
    blocks = len(pyprof.load(whole).blocks)
    chance = random.Random(3)
    lost = []
    for number in range(40):
        broken = bytearray(data)
        at = chance.randrange(len(data) - 4096)
        broken[at : at + 4096] = bytes(4096)
        path = tmp_path / f"{number}.pyprof"
        path.write_bytes(broken)
        saved = recover(path, tmp_path / f"{number}-new.pyprof")
        lost.append(blocks - len(saved.recording.blocks))
        if lost[-1] > 0:
            assert any("are lost" in loss for loss in saved.losses)
    assert max(lost) <= 4  # small last ones share a page
    assert sum(lost) / len(lost) < 1.5


def test_nothing_to_recover(tmp_path: Path) -> None:
    for content in (b"", b"PYF1" * 5000, bytes(100_000), b"SQLite format 3\0" + bytes(4000)):
        path = tmp_path / "nothing.pyprof"
        path.write_bytes(content)
        with pytest.raises(RecordingError) as caught:
            recover(path, tmp_path / "new.pyprof")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "new.pyprof").exists()


def test_newer_schema_is_refused(copy: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(copy)
    connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(NewerSchemaError):
        recover(copy, tmp_path / "new.pyprof")


def test_the_statuses_of_the_command(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "new.pyprof")
    assert main(["recover", str(copy), "-o", out]) == 0
    assert "30 rows of stages" in capsys.readouterr().out
    assert main(["recover", str(copy), "-o", out]) == 2
    assert "exists" in capsys.readouterr().err
    data = bytearray(copy.read_bytes())
    data[: PAGE_BYTES // 2] = bytes(PAGE_BYTES // 2)
    copy.write_bytes(data)
    assert main(["recover", str(copy), "-o", out, "-f"]) == 1
    assert "SQLite can't open it" in capsys.readouterr().err
    assert main(["recover", str(tmp_path), "-o", out, "-f"]) == 2
    assert main(["recover", str(tmp_path / "none"), "-o", out, "-f"]) == 2


def test_a_recording_that_was_cut_short(tmp_path: Path) -> None:
    """Never finished: readings of the tail are pieces like any other."""
    out = tmp_path / "cut.pyprof"
    sensors = [Sensor("gpu0", "gpu", S // 10, 1e-3), Sensor("package-0", "package", S, 1e-5)]
    store = record(out, sensors, 500.0, finish=False)
    store.close()
    truth = pyprof.load(out).report()
    data = bytearray(out.read_bytes())
    data[:PAGE_BYTES] = bytes(PAGE_BYTES)
    out.write_bytes(data)
    recover(out, tmp_path / "new.pyprof")
    report = pyprof.load(tmp_path / "new.pyprof").report()
    assert not report.run.complete
    assert report.energy_j == pytest.approx(truth.energy_j, rel=1e-9)
