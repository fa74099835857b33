"""The form of a recording: tables, row types, and the envelope of compressed blocks.

``docs/recording.md`` describes the same for readers without pyprof.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from pyprof import _native

APPLICATION_ID = 0x50595046  # "PYPF"
VERSION = 1
PAGE_BYTES = 16384
#: Changes of one channel that a sealed block holds at most; about 12 KiB, so it fits a page.
BLOCK_CHANGES = 2000

#: How many channels the inventory has, in ``meta``.
CHANNELS_KEY = "channels"

SAMPLER = "sampler"
STAGES = "stages"

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE process(id INTEGER PRIMARY KEY, role TEXT, pid INTEGER, host TEXT, boot_id TEXT,
  machine_id TEXT, command TEXT, argv TEXT, phase TEXT, mono_ns INTEGER, boot_ns INTEGER,
  wall_ns INTEGER, offset_ns INTEGER, start_ns INTEGER, end_ns INTEGER, exit_status INTEGER,
  signal INTEGER, complete INTEGER, crc INTEGER);
CREATE TABLE source(idx INTEGER PRIMARY KEY, name TEXT, available INTEGER, reason TEXT,
  remedy TEXT);
CREATE TABLE channel(idx INTEGER PRIMARY KEY, sampled INTEGER, id TEXT, domain TEXT, device TEXT,
  uuid TEXT, parent TEXT, source TEXT, scope TEXT, quality TEXT, method TEXT, reason TEXT,
  counted INTEGER, kind TEXT, unit REAL, range INTEGER, limit_w REAL, tolerance REAL,
  low_ratio REAL, high_ratio REAL, window_ns INTEGER, period_ns INTEGER, crc INTEGER);
CREATE TABLE tail(seq INTEGER PRIMARY KEY, t_ns INTEGER, data BLOB);
CREATE TABLE block(id INTEGER PRIMARY KEY, channel INTEGER, first_seq INTEGER, count INTEGER,
  first_ns INTEGER, last_ns INTEGER);
CREATE TABLE block_data(id INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE rollup(channel INTEGER, grain_s INTEGER, start_ns INTEGER, energy_j REAL,
  peak_w REAL, covered_s REAL, crc INTEGER, PRIMARY KEY(channel, grain_s, start_ns)) WITHOUT ROWID;
CREATE TABLE mark(id INTEGER PRIMARY KEY, process INTEGER, seq INTEGER, t_ns INTEGER, data BLOB);
CREATE TABLE event(id INTEGER PRIMARY KEY, t_ns INTEGER, kind TEXT, channel INTEGER,
  count INTEGER, text TEXT);
CREATE TABLE stats(name TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;
"""

CHANNEL_TEXTS = (
    "id",
    "domain",
    "device",
    "uuid",
    "parent",
    "source",
    "scope",
    "quality",
    "method",
    "reason",
)
CHANNEL_FIELDS = (
    *CHANNEL_TEXTS,
    "counted",
    "kind",
    "unit",
    "range",
    "limit_w",
    "tolerance",
    "low_ratio",
    "high_ratio",
    "window_ns",
    "period_ns",
)

_ENVELOPE = struct.Struct("<4sIIII")  # magic, whole length, CRC-32 of the rest, channel, raw length
_ENVELOPE_MAGIC = b"PYZ1"
_FRAME_HEAD = struct.Struct("<4sI")
_MOST_INFLATED = 16 << 20


@dataclass(frozen=True, slots=True)
class Process:
    """A process that took part: the one that samples, or one that only marks stages."""

    id: int
    role: str
    pid: int
    host: str | None
    boot_id: str | None
    machine_id: str | None
    command: str | None
    argv: str | None
    phase: str
    mono_ns: int
    boot_ns: int
    wall_ns: int
    offset_ns: int
    start_ns: int | None
    end_ns: int | None
    exit_status: int | None
    signal: int | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Incident:
    """An event as recorded: ``channel`` is an index, or -1 for the run."""

    t_ns: int
    kind: str
    channel: int
    count: int
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """Header of a sealed block."""

    channel: int
    first_seq: int
    count: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Rollup:
    """What one channel did in one grain of time; ``energy_j`` is None where nothing is known."""

    channel: int
    grain_s: int
    start_ns: int
    energy_j: float | None
    peak_w: float | None
    covered_s: float


PROCESS_COLUMNS = tuple(field.name for field in fields(Process))


def row_crc(values: Sequence[Any]) -> int:
    """Checksum of a row that joules depend on: CRC-32 of its values as compact JSON."""
    return zlib.crc32(json.dumps(list(values), separators=(",", ":"), ensure_ascii=True).encode())


def process_row(process: Process) -> tuple[Any, ...]:
    """The row of ``process``, its checksum last."""
    values = (*astuple(process)[:-1], int(process.complete))
    return (*values, row_crc(values))


def channel_row(index: int, sampled: bool, channel: _native.Channel) -> tuple[Any, ...]:
    """The row of ``channel``, its checksum last."""
    given = {name: getattr(channel, name) for name in CHANNEL_FIELDS}
    given["counted"] = int(channel.counted)
    given["range"] = channel.range if channel.range < 1 << 63 else channel.range - (1 << 64)
    values = (index, int(sampled), *given.values())
    return (*values, row_crc(values))


def channel_of(values: Sequence[Any]) -> _native.Channel:
    """The channel of the columns named by ``CHANNEL_FIELDS``; hostile values raise."""
    given = dict(zip(CHANNEL_FIELDS, values, strict=True))
    given["counted"] = bool(given["counted"])
    given["range"] = int(given["range"]) & ((1 << 64) - 1)
    return _native.Channel(**given)


def rollup_row(rollup: Rollup) -> tuple[Any, ...]:
    """The row of ``rollup``, its checksum last."""
    values = astuple(rollup)
    return (*values, row_crc(values))


def split_frames(joined: bytes) -> Iterator[bytes]:
    """The frames of a trusted concatenation, one by one."""
    at = 0
    while at + _FRAME_HEAD.size <= len(joined):
        _, length = _FRAME_HEAD.unpack_from(joined, at)
        if length < _FRAME_HEAD.size:
            return
        yield joined[at : at + length]
        at += length


def pack(frame: bytes, channel: int) -> bytes:
    """The smaller of the frame itself and the frame deflated in an envelope with its own magic.

    Both forms begin with a magic, a length and a checksum, so that a scan of a broken file for
    either magic finds the block again.
    """
    body = zlib.compress(frame, 1)
    size = _ENVELOPE.size + len(body)
    if size >= len(frame):
        return frame
    rest = struct.pack("<II", channel, len(frame)) + body
    return struct.pack("<4sII", _ENVELOPE_MAGIC, size, zlib.crc32(rest)) + rest


def unpack(data: bytes) -> bytes:
    """The frame in ``data``; what is damaged raises ValueError."""
    if not data.startswith(_ENVELOPE_MAGIC):
        return data
    if len(data) < _ENVELOPE.size:
        raise ValueError("block cut short")
    _, size, crc, _, raw = _ENVELOPE.unpack_from(data)
    if size != len(data) or raw > _MOST_INFLATED or zlib.crc32(data[12:]) != crc:
        raise ValueError("block damaged")
    inflater = zlib.decompressobj()
    frame = inflater.decompress(data[_ENVELOPE.size :], raw)
    if len(frame) != raw:
        raise ValueError("block damaged")
    return frame
