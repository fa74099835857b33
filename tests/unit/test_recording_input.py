"""What is not a sound recording: one sentence, or a loss that is named; never a wrong joule."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

import pyprof
from pyprof.errors import NewerSchemaError, PyprofError, RecordingError
from pyprof.layout import APPLICATION_ID, row_crc
from pyprof.salvage import recover

SIGNAL = """
[[channel]]
id = "package-0"
kind = "constant"
watts = 100.0
sensor = { period_s = 0.01, wrap_j = 15.0 }
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short recording of 100 W with stages."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "signals.toml").write_text(SIGNAL, encoding="utf-8")
    out = folder / "run.pyprof"
    with pyprof.Profiler(out=out, simulate=str(folder / "signals.toml")) as prof:
        for _ in range(20):
            with prof.stage("step"):
                time.sleep(0.02)
    return out


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sound, tmp_path / "copy.pyprof"))


def refusal(path: Path) -> str:
    with pytest.raises(RecordingError) as caught:
        pyprof.load(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nothing.pyprof")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.pyprof").touch()
    assert "is empty" in refusal(tmp_path / "empty.pyprof")


@pytest.mark.parametrize("content", [b"x", b"energy,1\n" * 100, bytes(4096), b"SQLite format 3\0"])
def test_other_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pyprof"
    path.write_bytes(content)
    assert "is not a pyprof recording" in refusal(path)


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in refusal(tmp_path / "pipe")
    with pytest.raises(RecordingError, match="is not a file"):
        recover(tmp_path / "pipe", tmp_path / "new.pyprof")


def test_other_database(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t(x)")
    connection.commit()
    connection.close()
    assert "not a pyprof recording" in refusal(path)


def test_database_with_our_mark_and_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "hollow.pyprof"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute("PRAGMA user_version=1")
    connection.execute("CREATE TABLE meta(key, value)")
    connection.commit()
    connection.close()
    assert "has no table" in refusal(path)


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_newer_schema_names_the_version(copy: Path) -> None:
    change(copy, "PRAGMA user_version=7")
    with pytest.raises(NewerSchemaError, match="schema 7, this pyprof reads up to 2") as caught:
        pyprof.load(copy)
    assert caught.value.exit_status == 4


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c)"
        " SELECT * FROM c",
        "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM mark; END",
    ],
)
def test_views_and_triggers_are_refused(copy: Path, statement: str) -> None:
    change(copy, statement)
    assert "which no recording does" in refusal(copy)


def test_view_in_place_of_a_table_is_refused(copy: Path) -> None:
    change(copy, "DROP TABLE mark", "CREATE VIEW mark AS SELECT 1 AS process, x'00' AS data")
    assert "view 'mark'" in refusal(copy)


@pytest.mark.parametrize("column", ["unit=unit*2", "counted=0", "range=1000", "id='package-9'"])
def test_changed_channel_is_noticed(copy: Path, column: str) -> None:
    change(copy, f"UPDATE channel SET {column}")
    assert "inventory of channels is not whole" in refusal(copy)


def test_changed_end_is_noticed(copy: Path) -> None:
    change(copy, "UPDATE process SET end_ns=end_ns+1000000000")
    assert "names no process" in refusal(copy)


def test_missing_channel_is_noticed(copy: Path) -> None:
    change(
        copy,
        "INSERT INTO channel SELECT 2,sampled,id,domain,device,uuid,parent,source,scope,"
        "quality,method,reason,counted,kind,unit,range,limit_w,tolerance,low_ratio,high_ratio,"
        "window_ns,period_ns,crc FROM channel",
    )
    assert "inventory of channels is not whole" in refusal(copy)


def test_channel_without_a_name_is_refused(copy: Path) -> None:
    connection = sqlite3.connect(copy)
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM channel").fetchone()) | {"id": ""}
    crc = row_crc(list(row.values())[:-1])
    connection.execute("UPDATE channel SET id='', crc=?", (crc,))
    connection.commit()
    connection.close()
    assert "inventory of channels is not whole" in refusal(copy)


@pytest.mark.parametrize("column", ["mono_ns", "boot_ns", "wall_ns", "start_ns", "end_ns"])
@pytest.mark.parametrize("value", [-(1 << 63), (1 << 63) - 1])
def test_times_that_no_clock_shows_are_refused(copy: Path, column: str, value: int) -> None:
    connection = sqlite3.connect(copy)
    connection.row_factory = sqlite3.Row
    row = dict(connection.execute("SELECT * FROM process").fetchone()) | {column: value}
    crc = row_crc(list(row.values())[:-1])
    connection.execute(f"UPDATE process SET {column}=?, crc=?", (value, crc))
    connection.commit()
    connection.close()
    assert "names no process" in refusal(copy)


def test_channel_that_is_named_twice_is_refused(copy: Path) -> None:
    connection = sqlite3.connect(copy)
    row = connection.execute("SELECT * FROM channel").fetchone()
    again = [1, *row[1:-1]]
    count = ["channels", "2"]
    connection.execute(
        f"INSERT INTO channel VALUES({','.join('?' * len(row))})", [*again, row_crc(again)]
    )
    connection.execute("INSERT OR REPLACE INTO meta VALUES(?,?,?)", [*count, row_crc(count)])
    connection.commit()
    connection.close()
    assert "names a channel twice" in refusal(copy)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM channel", "DELETE FROM meta", "UPDATE meta SET value='2'"]
)
def test_shorter_inventory_is_noticed(copy: Path, statement: str) -> None:
    change(copy, statement)
    assert "inventory of channels is not whole" in refusal(copy)


def test_missing_sampler_is_noticed(copy: Path) -> None:
    change(copy, "UPDATE process SET role='stages'")
    assert "names no process" in refusal(copy)


@pytest.mark.parametrize("value", ["'text'", "NULL", "1.5", "zeroblob(9)", "9223372036854775807"])
def test_rows_of_wrong_types_are_left_out_by_name(copy: Path, value: str) -> None:
    change(
        copy,
        f"INSERT INTO block VALUES(900,{value},{value},{value},{value},{value},{value})",
        f"INSERT INTO block_data VALUES(900,{value})",
        f"INSERT INTO event VALUES(NULL,{value},{value},{value},{value},{value},{value})",
        f"INSERT INTO mark VALUES(NULL,{value},{value},{value},{value})",
    )
    recording = pyprof.load(copy)
    assert any("table block" in defect for defect in recording.defects)
    report = recording.report()
    assert report.energy_j == pytest.approx(100.0 * report.run.duration_s, rel=0.02)
    assert any("left out" in event.text for event in report.events)


@pytest.mark.parametrize(
    ("statement", "loss"),
    [
        ("DELETE FROM block", "readings"),
        ("DELETE FROM block_data", "table block"),
        ("DELETE FROM mark", "stages"),
        ("DELETE FROM meta WHERE key='tally'", "counts of its rows"),
        ("UPDATE block SET first_seq=first_seq+1", "table block"),
        ("UPDATE block_data SET data=zeroblob(length(data))", "table block"),
        ("UPDATE mark SET data=zeroblob(length(data))", "damaged bytes"),
        ("UPDATE block SET channel=channel+1", "table block"),
        ("INSERT INTO block SELECT NULL,channel,first_seq,count,1,2,3 FROM block", "table block"),
        ("UPDATE source SET name='other'", "table source"),
        ("DELETE FROM source", "table source"),
        ("UPDATE stats SET value=value+1", "table stats"),
        ("DELETE FROM stats WHERE name='cpu_s'", "table stats"),
        ("DELETE FROM meta WHERE key='scope'", "table meta"),
        ("UPDATE meta SET value='this machine' WHERE key='scope'", "table meta"),
        ("UPDATE mark SET process=process+1", "table mark"),
        ("DELETE FROM finding", "were found"),
    ],
)
def test_lost_rows_are_named(copy: Path, statement: str, loss: str) -> None:
    change(copy, statement)
    assert any(loss in event.text for event in pyprof.load(copy).report().events)


def test_every_truncation_is_refused_or_named(sound: Path, tmp_path: Path) -> None:
    whole = sound.read_bytes()
    path = tmp_path / "cut.pyprof"
    truth_j = pyprof.load(sound).report().energy_j
    for size in range(0, len(whole), 4096 + 511):
        path.write_bytes(whole[:size])
        try:
            recording = pyprof.load(path)
        except PyprofError:
            continue
        report = recording.report()
        assert report.events or report.energy_j == truth_j


def test_random_damage_is_refused_named_or_harmless(sound: Path, tmp_path: Path) -> None:
    whole = sound.read_bytes()
    truth = pyprof.load(sound).report()
    chance = random.Random(5)
    path = tmp_path / "damaged.pyprof"
    used = [at for at in range(0, len(whole), 64) if any(whole[at : at + 64])]
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 1, 8])):
            at = chance.choice(used) + chance.randrange(64)
            damaged[at % len(whole)] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            recording = pyprof.load(path)
            report = recording.report()
        except PyprofError:
            continue
        if not recording.defects and not report.events:
            assert report.energy_j == truth.energy_j
            assert [(s.path, s.count) for s in report.stage_rows] == [
                (s.path, s.count) for s in truth.stage_rows
            ]
