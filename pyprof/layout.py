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
from pyprof.energy import Source

APPLICATION_ID = 0x50595046  # "PYPF"
#: 1: no checksums on meta, source, block, event and stats; counts of rows only at the end;
#: roll-ups of minutes that a report can't rest on. 2: what this module describes.
VERSION = 2
PAGE_BYTES = 16384
#: What fits one page beside SQLite's own bytes, so that a scan finds it in one piece.
MOST_IN_PAGE = PAGE_BYTES - 64
#: A sealed block is made to fill half a page; changes of the first one of a channel, which is
#: made before its bytes a change are known, and of any one.
BLOCK_BYTES = PAGE_BYTES // 2 - 32
BLOCK_CHANGES = 1500
MOST_CHANGES = 4096

#: Changes of a recording that is read whole; of a longer one a report reads what it needs.
SHORT_CHANGES = 500_000
#: How many channels the inventory has, in ``meta``.
CHANNELS_KEY = "channels"

#: The folder of the agent that some of the readings come from, in ``meta``.
AGENT_KEY = "agent"

SAMPLER = "sampler"
STAGES = "stages"

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT, crc INTEGER) WITHOUT ROWID;
CREATE TABLE process(id INTEGER PRIMARY KEY, role TEXT, pid INTEGER, host TEXT, boot_id TEXT,
  machine_id TEXT, command TEXT, argv TEXT, phase TEXT, mono_ns INTEGER, boot_ns INTEGER,
  wall_ns INTEGER, offset_ns INTEGER, start_ns INTEGER, end_ns INTEGER, exit_status INTEGER,
  signal INTEGER, complete INTEGER, crc INTEGER);
CREATE TABLE source(idx INTEGER PRIMARY KEY, name TEXT, available INTEGER, reason TEXT,
  remedy TEXT, crc INTEGER);
CREATE TABLE channel(idx INTEGER PRIMARY KEY, sampled INTEGER, id TEXT, domain TEXT, device TEXT,
  uuid TEXT, parent TEXT, source TEXT, scope TEXT, quality TEXT, method TEXT, reason TEXT,
  counted INTEGER, kind TEXT, unit REAL, range INTEGER, limit_w REAL, tolerance REAL,
  low_ratio REAL, high_ratio REAL, window_ns INTEGER, period_ns INTEGER, crc INTEGER);
CREATE TABLE identity(id INTEGER PRIMARY KEY, t_ns INTEGER, data BLOB);
CREATE TABLE tail(seq INTEGER PRIMARY KEY, t_ns INTEGER, data BLOB);
CREATE TABLE block(id INTEGER PRIMARY KEY, channel INTEGER, first_seq INTEGER, count INTEGER,
  first_ns INTEGER, last_ns INTEGER, crc INTEGER);
CREATE TABLE block_data(id INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE rollup(channel INTEGER, grain_s INTEGER, start_ns INTEGER, energy_j REAL,
  peak_w REAL, covered_s REAL, lost_j REAL, variance_j2 REAL, crc INTEGER,
  PRIMARY KEY(channel, grain_s, start_ns)) WITHOUT ROWID;
CREATE TABLE finding(id INTEGER PRIMARY KEY, t_ns INTEGER, kind TEXT, channel INTEGER,
  count INTEGER, text TEXT, crc INTEGER);
CREATE TABLE mark(id INTEGER PRIMARY KEY, process INTEGER, seq INTEGER, t_ns INTEGER, data BLOB);
CREATE TABLE event(id INTEGER PRIMARY KEY, t_ns INTEGER, kind TEXT, channel INTEGER,
  count INTEGER, text TEXT, crc INTEGER);
CREATE TABLE stats(name TEXT PRIMARY KEY, value REAL, crc INTEGER) WITHOUT ROWID;
"""
#: Tables that schema 1 did not have.
LATER_TABLES = frozenset({"identity", "finding"})

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

_ENVELOPE = struct.Struct("<4sIIII")  # magic, whole length, CRC-32 of the rest, owner, raw length
BLOCK_MAGIC = b"PYZ1"  # readings; the owner is the channel
STAGES_MAGIC = b"PYS1"  # marks; the owner is the process
IDENTITY_MAGIC = b"PYI1"  # the inventory as JSON; the owner is 0
_ENVELOPES = (BLOCK_MAGIC, STAGES_MAGIC, IDENTITY_MAGIC)
_FRAME_HEAD = struct.Struct("<4sI")
_MOST_INFLATED = 4 << 20


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

    id: int
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
    #: What may have been used unseen and is not in the energy.
    lost_j: float
    #: Of what a gauge that looks away has not seen.
    variance_j2: float

    @property
    def end_ns(self) -> int:
        """The end of its time."""
        return self.start_ns + self.grain_s * 1_000_000_000


PROCESS_COLUMNS = tuple(field.name for field in fields(Process))


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def row_crc(values: Sequence[Any]) -> int:
    """Checksum of a row that joules depend on: CRC-32 of its values as compact JSON."""
    text = _native.json_row(values)
    return zlib.crc32(_encode(list(values)).encode() if text is None else text)


def sealed(*values: Any) -> tuple[Any, ...]:
    """A row with its checksum last."""
    return (*values, row_crc(values))


def process_row(process: Process) -> tuple[Any, ...]:
    """The row of ``process``."""
    return sealed(*astuple(process)[:-1], int(process.complete))


def channel_row(index: int, sampled: bool, channel: _native.Channel) -> tuple[Any, ...]:
    """The row of ``channel``."""
    given = {name: getattr(channel, name) for name in CHANNEL_FIELDS}
    given["counted"] = int(channel.counted)
    given["range"] = channel.range if channel.range < 1 << 63 else channel.range - (1 << 64)
    return sealed(index, int(sampled), *given.values())


def source_row(index: int, source: Source) -> tuple[Any, ...]:
    """The row of ``source``."""
    return sealed(index, source.name, int(source.available), source.reason, source.remedy)


def incident_row(number: int, incident: Incident) -> tuple[Any, ...]:
    """The row of an event or a finding."""
    return sealed(number, *astuple(incident))


def channel_of(values: Sequence[Any]) -> _native.Channel:
    """The channel of the columns named by ``CHANNEL_FIELDS``; hostile values raise."""
    given = dict(zip(CHANNEL_FIELDS, values, strict=True))
    given["counted"] = bool(given["counted"])
    given["range"] = int(given["range"]) & ((1 << 64) - 1)
    return _native.Channel(**given)


def block_row(block: Block) -> tuple[Any, ...]:
    """The row of a block's header."""
    return sealed(*astuple(block))


def rollup_row(rollup: Rollup) -> tuple[Any, ...]:
    """The row of ``rollup``."""
    return sealed(*astuple(rollup))


def mark_row(process: int, seq: int, t_ns: int | None, frame: bytes) -> tuple[Any, ...]:
    """The row of a frame of marks, which says in itself whose it is."""
    return (None, process, seq, t_ns, envelop(STAGES_MAGIC, process, frame))


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
    inside = envelop(BLOCK_MAGIC, channel, frame)
    return inside if len(inside) < len(frame) else frame


def envelop(magic: bytes, owner: int, content: bytes) -> bytes:
    """``content`` deflated, with its owner and a checksum of both."""
    rest = struct.pack("<II", owner, len(content)) + zlib.compress(content, 1)
    return struct.pack("<4sII", magic, len(rest) + 12, zlib.crc32(rest)) + rest


def open_envelope(data: bytes, magic: bytes) -> tuple[int, bytes]:
    """Owner and content of an envelope of that magic; what is damaged raises ValueError."""
    if len(data) < _ENVELOPE.size:
        raise ValueError("cut short")
    found, size, crc, owner, raw = _ENVELOPE.unpack_from(data)
    if found != magic or size != len(data) or raw > _MOST_INFLATED or zlib.crc32(data[12:]) != crc:
        raise ValueError("damaged")
    inflater = zlib.decompressobj()
    content = inflater.decompress(data[_ENVELOPE.size :], raw)
    if len(content) != raw:
        raise ValueError("damaged")
    return owner, content


def piece_size(beginning: bytes, room: int) -> int:
    """Length of the frame or envelope that begins so, if ``room`` holds it; else 0."""
    least = {b"PYF1": 64, b"PYF2": 64, **dict.fromkeys(_ENVELOPES, _ENVELOPE.size)}.get(
        beginning[:4]
    )
    if least is None or len(beginning) < _FRAME_HEAD.size:
        return 0
    size = int(_FRAME_HEAD.unpack_from(beginning)[1])
    return size if least <= size <= min(room, _MOST_INFLATED) else 0


def unpack(data: bytes) -> bytes:
    """The frame in a block's ``data``; what is damaged raises ValueError."""
    return open_envelope(data, BLOCK_MAGIC)[1] if data.startswith(BLOCK_MAGIC) else data
