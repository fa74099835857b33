"""Hostile pieces and rows, their checksums right: nothing crashes, hangs or takes much memory.

    cd tools; python -m soak.fuzz --seconds 600

Bytes of frames, marks and rows are changed and sealed again, so that they get past the checksums.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import sqlite3
import struct
import sys
import tempfile
import time
from pathlib import Path

import jsonschema

import pyprof
from pyprof import _native
from pyprof.energy import EnergyReport
from pyprof.errors import PyprofError
from pyprof.export.json import load_schema, report_json
from pyprof.export.text import render
from pyprof.layout import BLOCK_MAGIC, IDENTITY_MAGIC, STAGES_MAGIC, envelop, pack, row_crc
from pyprof.privacy import redact
from pyprof.salvage import recover
from soak.damage import check_sentence
from soak.simulated import START_NS, S, mark_frame, node, record, stages

_LIMIT_S = 1.0
_SCHEMA = jsonschema.Draft202012Validator(load_schema())
_INTERESTING = (0, 1, 2, 63, 127, 128, 255, 256, 4095, 4096, 65535, 2**31 - 1, 2**32 - 1)
_VALUES = (
    None,
    "",
    "x",
    "gpu0",
    0,
    1,
    -1,
    2**31,
    2**62,
    2**63 - 1,
    -(2**63),
    1.5,
    1e308,
    b"",
    b"x",
)


def crc32c(data: bytes) -> int:
    """The checksum of frames, bit by bit from its polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


def reseal(frame: bytearray) -> bytes:
    """Length and checksum as they must be."""
    struct.pack_into("<I", frame, 4, len(frame))
    struct.pack_into("<I", frame, 8, crc32c(bytes(frame[12:])))
    return bytes(frame)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, numbers made extreme, parts cut out or repeated."""
    frame = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(12, max(len(frame), 13))
        kind = chance.randrange(5)
        if kind == 0 and at < len(frame):
            frame[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at + 8 <= len(frame):
            size, form = chance.choice(((4, "<I"), (8, "<Q")))
            value = chance.choice((*_INTERESTING, chance.getrandbits(8 * size)))
            struct.pack_into(form, frame, at, value % (1 << 8 * size))
        elif kind == 2:
            del frame[at : at + chance.choice((1, 4, 20))]
        elif kind == 3:
            frame[at:at] = chance.randbytes(chance.choice((1, 4, 20)))
        else:
            frame[at:at] = frame[at : at + 40]
    while len(frame) < 13:
        frame.append(0)
    return reseal(frame)


def fuzz_pieces(sample: bytes, marks: bytes, chance: random.Random) -> None:
    """Everything native that reads bytes."""
    bad = mutate(sample, chance)
    channels = [sensor.channel() for sensor in node(2, 1)]
    until_ns = START_NS + 300 * S
    infos = _native.frame_info(bad)
    joined = _native.join_frames(bad + sample, chance.choice((1, 7, 4096)))
    account = _native.Account(channels, START_NS, until_ns, "training")
    account.add_frames(bad + joined)
    account.add_marks(1, mutate(marks, chance), chance.choice((0, 2**62, -(2**62))))
    account.add_rolls(0, [(START_NS, START_NS + 60 * S, 1.0, None, 60.0, 0.0, 0.0)])
    account.solve()
    if infos:
        _native.roll_up(channels[0], bad + sample, START_NS, 60 * S, until_ns, last=True)


def fuzz_rows(path: Path, sample: bytes, marks: bytes, chance: random.Random) -> None:
    """A recording with a few rows of others' making, sealed like ours."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    for _ in range(chance.choice((1, 2, 4))):
        kind = chance.randrange(4)
        if kind == 0:
            data = pack(mutate(sample, chance), 0)
            connection.execute("UPDATE block_data SET data=? WHERE id=1", (data,))
        elif kind == 1:
            data = envelop(STAGES_MAGIC, 1, mutate(marks, chance))
            connection.execute("UPDATE mark SET data=? WHERE seq=1", (data,))
        elif kind == 2:
            bomb = bytes(chance.choice((100, 1 << 20, 8 << 20)))
            magic = chance.choice((BLOCK_MAGIC, STAGES_MAGIC, IDENTITY_MAGIC))
            data = envelop(magic, 0, bomb)
            table = chance.choice(("block_data", "mark", "tail", "identity"))
            connection.execute(f"UPDATE {table} SET data=?", (data,))
        else:
            _change_cell(connection, chance)
    connection.close()


def _change_cell(connection: sqlite3.Connection, chance: random.Random) -> None:
    tables = (
        "meta",
        "process",
        "source",
        "channel",
        "block",
        "rollup",
        "finding",
        "event",
        "stats",
    )
    table = chance.choice(tables)
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    rows = connection.execute(f"SELECT * FROM {table} LIMIT 50").fetchall()
    if not rows:
        return
    row = list(chance.choice(rows))
    row[chance.randrange(len(row) - 1)] = chance.choice(_VALUES)
    try:
        row[-1] = row_crc(row[:-1])
    except TypeError:
        row[-1] = 0
    places = ",".join("?" * len(columns))
    try:
        connection.execute(f"INSERT OR REPLACE INTO {table} VALUES({places})", row)
    except (sqlite3.Error, OverflowError):
        return


def check_shown(report: EnergyReport, path: Path) -> None:
    """What hostile rows say stands in a document of our schema, and in a text."""
    _SCHEMA.validate(json.loads(report_json(report)))
    render(report, colour=False, width=80)
    try:
        redact(pyprof.load(path))[0].report(zone="FR")
    except PyprofError as error:
        check_sentence(error)


def _check(path: Path, *, recover_too: bool) -> None:
    """A report of it, and what can be recovered: refused in a sentence, or fit to be shown."""
    began_s = time.process_time()
    try:
        report = pyprof.load(path).report()
    except PyprofError as error:
        check_sentence(error)
        report = None
    spent_s = time.process_time() - began_s
    assert spent_s < _LIMIT_S, f"a report took {spent_s:.2f} s"
    if report is not None:
        check_shown(report, path)
    if recover_too:
        try:
            recover(path, path.with_name("new.pyprof"), overwrite=True)
        except PyprofError as error:
            check_sentence(error)


def run(seconds: float, seed: int) -> tuple[int, int]:
    """For so many seconds of CPU; how many pieces and recordings that were."""
    chance = random.Random(seed)
    pieces = recordings = 0
    with tempfile.TemporaryDirectory() as place:
        whole, path = Path(place) / "whole.pyprof", Path(place) / "fuzzed.pyprof"
        marked = list(stages(12, START_NS + 3 * S, 20 * S))
        record(whole, node(2, 1), 300.0, commit_s=10.0, marks=marked)
        sample = node(1, 0)[0]
        sample.frame(0, 0)
        frame = sample.frame(0, START_NS + 20 * S)
        marks = mark_frame(0, START_NS + S, START_NS + 9 * S)
        until_s = time.process_time() + seconds
        while time.process_time() < until_s:
            for _ in range(50):
                fuzz_pieces(frame, marks, chance)
                pieces += 1
            shutil.copyfile(whole, path)
            fuzz_rows(path, frame, marks, chance)
            try:
                _check(path, recover_too=recordings % 5 == 0)
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"fuzz-{seed}-{recordings}.pyprof"
                shutil.copyfile(path, kept)
                raise AssertionError(f"recording {recordings}, kept as {kept}") from error
            recordings += 1
    return pieces, recordings


def main() -> int:
    """As long as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    pieces, recordings = run(chosen.seconds, chosen.seed)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{pieces} pieces, {recordings} recordings: 0 crashes, 0 hangs; {peak_mib:.0f} MiB at most"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
