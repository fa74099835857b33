"""Rows of a recording as values. They may be hostile: what can't be one is left out and named."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pyprof import _native
from pyprof.energy import DOMAINS, EVENTS, METHODS, QUALITIES, SCOPES, Source
from pyprof.errors import brief
from pyprof.layout import (
    CHANNEL_FIELDS,
    PROCESS_COLUMNS,
    STAGES_MAGIC,
    Block,
    Incident,
    Process,
    Rollup,
    channel_of,
    open_envelope,
    row_crc,
    unpack,
)

_MOST_TEXT = 4096
_MOST_DATA = 64 << 20
#: Rows that are tried one by one, in vain, before the rest of a damaged table is given up.
_MOST_MISSES = 20_000
_MOST_META = 1 << 20

#: Of joules, their squares, watts, seconds and counts; far more than anything has.
_MOST = 1e24
#: 36 years since the boot, as far as frames can tell; of the clock that shows the date 146.
_MOST_NS = 1 << 60
_MOST_WALL_NS = 1 << 62
#: The domain of channels that only say who used a device.
_WITHOUT_JOULES = ("use", "condition")  # domains

_Row = TypeVar("_Row")
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Query(Generic[_Row]):
    """Rows of a table and what makes a value of one."""

    table: str
    columns: str
    make: Callable[[Sequence[Any]], _Row]
    rest: str = ""
    #: The schema since which the rows carry a checksum; None: their bytes do, or nothing does.
    sealed_since: int | None = 2
    #: The whole number that names a row, by which rows beyond damage are found.
    key: str | None = None

    def is_sealed(self, version: int) -> bool:
        """Whether rows of that schema end in their checksum."""
        return self.sealed_since is not None and version >= self.sealed_since

    def select(self, version: int) -> str:
        """The statement up to its conditions."""
        crc = ",crc" if self.is_sealed(version) else ""
        return f"SELECT {self.columns}{crc} FROM {self.table}"


class Reader:
    """Rows as values; a row that can't be one is left out and named."""

    def __init__(self, connection: sqlite3.Connection, version: int) -> None:
        """Read through ``connection`` what has the schema ``version``."""
        self.connection = connection
        self.version = version
        self.defects: list[str] = []

    def rows(self, query: Query[_Row], *values: int) -> list[_Row]:
        """Every sound row of ``query``."""
        out: list[_Row] = []
        bad = 0
        sealed = query.is_sealed(self.version)
        for row in self._raw_rows(query, values):
            try:
                if sealed:
                    check_crc(row)
                    row = row[:-1]
                out.append(query.make(row))
            except (TypeError, ValueError, ArithmeticError, RecursionError, zlib.error):
                bad += 1
        if bad:
            self.defects.append(f"{bad} damaged rows of the table {query.table} were left out")
        return out

    def _raw_rows(self, query: Query[Any], values: Sequence[int]) -> Iterator[Sequence[Any]]:
        row: Sequence[Any] = (None,)
        try:
            select = query.select(self.version)
            for row in self.connection.execute(f"{select} {query.rest}", values):
                yield row
        except (sqlite3.Error, UnicodeError, MemoryError) as error:
            last = row[0] if isinstance(row[0], int) else -1
            self.defects.append(
                f"the table {query.table} is damaged ({brief(error)}): rows are missing"
            )
            yield from self._beyond(query, last)

    def _beyond(self, query: Query[Any], last: int) -> Iterator[Sequence[Any]]:
        """Rows after a page that can't be read, asked for one by one."""
        if query.key is None or last < 0:
            return
        statement = f"{query.select(self.version)} WHERE {query.key}=?"
        misses = 0
        while misses < _MOST_MISSES:
            last += 1
            misses += 1
            try:
                found = self.connection.execute(statement, (last,)).fetchall()
            except sqlite3.OperationalError:  # patience is over
                return
            except (sqlite3.Error, UnicodeError, MemoryError):
                continue
            if found:
                misses = 0
                yield from found


def frame_of(connection: sqlite3.Connection, block: Block) -> bytes | None:
    """The frame of a sealed block; None for one that is damaged, missing or another's."""
    try:
        row = connection.execute(
            f"SELECT {_DATA} FROM block_data WHERE id=?", (block.id,)
        ).fetchone()
        frame = unpack(_expect(row[0], bytes))
    except (sqlite3.Error, UnicodeError, MemoryError, TypeError, ValueError, zlib.error):
        return None
    header = (block.channel, block.first_seq, block.count, block.first_ns, block.last_ns)
    return frame if _native.frame_info(frame) == [header] else None


def _expect(value: Any, kind: type[_Row]) -> _Row:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _text(value: Any, most: int = _MOST_TEXT) -> str:
    return _expect(value, str)[:most]


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _whole_or_none(value: Any) -> int | None:
    return None if value is None else _expect(value, int)


def _time(value: Any) -> int:
    """A time that a clock shows, in ns: differences of two fit in 64 bits."""
    return _within(value, int, -_MOST_NS, _MOST_NS)


def _time_or_none(value: Any) -> int | None:
    return None if value is None else _time(value)


def check_crc(row: Sequence[Any]) -> None:
    """Raise for a row whose last value is not the checksum of the others."""
    if row_crc(row[:-1]) != row[-1]:
        raise ValueError("checksum")


def _within(value: Any, kind: type[_Number], least: float, most: float) -> _Number:
    """A number that something honest can have: no infinity comes of it."""
    number = _expect(value, kind)
    if not least <= number <= most:
        raise ValueError(f"{number} is not between {least} and {most}")
    return number


def _one_of(value: Any, words: Collection[str]) -> str:
    if value not in words:
        raise ValueError(f"{value!r} is none of {', '.join(words)}")
    return str(value)


#: Kind, least and most of a channel's numbers.
_CHANNEL_NUMBERS: Mapping[str, tuple[type, float, float]] = {
    "counted": (int, 0, 1),
    "unit": (float, 1e-15, 1e9),
    "range": (int, -(1 << 63), 1 << 63),
    "limit_w": (float, 0.0, 1e12),
    "tolerance": (float, 0.0, 1e3),
    "low_ratio": (float, 0.0, 1e3),
    "high_ratio": (float, 0.0, 1e3),
    "window_ns": (int, -1, 1 << 60),
    "period_ns": (int, 0, 1 << 60),
}
_CHANNEL_WORDS: Mapping[str, Collection[str]] = {
    "domain": DOMAINS,
    "quality": QUALITIES,
    "method": METHODS,
    "scope": SCOPES,
}


def pair(row: Sequence[Any]) -> tuple[str, str]:
    """Key and value."""
    return _text(row[0]), _text(row[1], _MOST_META)


def stat(row: Sequence[Any]) -> tuple[str, float]:
    """Name and number."""
    return _text(row[0]), _within(row[1], float, 0.0, _MOST)


def process(row: Sequence[Any]) -> Process:
    """A process."""
    given: dict[str, Any] = dict(zip(PROCESS_COLUMNS, row, strict=True))
    signal = _whole_or_none(given["signal"])
    return Process(
        id=_expect(given["id"], int),
        role=_text(given["role"]),
        pid=_expect(given["pid"], int),
        host=_text_or_none(given["host"]),
        boot_id=_text_or_none(given["boot_id"]),
        machine_id=_text_or_none(given["machine_id"]),
        command=_text_or_none(given["command"]),
        argv=_text_or_none(given["argv"]),
        phase=_text(given["phase"]),
        mono_ns=_time(given["mono_ns"]),
        boot_ns=_time(given["boot_ns"]),
        wall_ns=_within(given["wall_ns"], int, 0, _MOST_WALL_NS),
        offset_ns=_time(given["offset_ns"]),
        start_ns=_time_or_none(given["start_ns"]),
        end_ns=_time_or_none(given["end_ns"]),
        exit_status=None if signal is not None else _whole_or_none(given["exit_status"]),
        signal=signal,
        complete=bool(given["complete"]),
    )


def source(row: Sequence[Any]) -> Source:
    """A source."""
    _, name, available, reason, remedy = row
    return Source(_text(name), bool(available), _text_or_none(reason), _text_or_none(remedy))


def channel(row: Sequence[Any]) -> tuple[int, _native.Channel]:
    """Index and channel."""
    given = dict(zip(CHANNEL_FIELDS, row[2:], strict=True))
    words = {} if given["domain"] in _WITHOUT_JOULES else _CHANNEL_WORDS
    for name, value in given.items():
        if name not in _CHANNEL_NUMBERS:
            _expect(value, str)
        elif not (name == "tolerance" and value is None):
            _within(value, *_CHANNEL_NUMBERS[name])
        if name in words:
            _one_of(value, words[name])
    if not given["id"]:
        raise ValueError("a channel has a name")
    return _expect(row[0], int), channel_of(row[2:])


def block(row: Sequence[Any]) -> Block:
    """Header of a sealed block."""
    if {*map(type, row)} != {int}:
        raise TypeError("a header is made of whole numbers")
    header = Block(*row)
    if not (header.channel >= 0 and header.first_seq >= 0 and 0 <= header.count <= _MOST_CHANGES):
        raise ValueError("header")
    return header


def tail(row: Sequence[Any]) -> bytes:
    """Frames of one commit."""
    return _expect(row[1], bytes)


def rollup(row: Sequence[Any]) -> Rollup:
    """A roll-up."""
    channel, grain_s, start_ns, *numbers = row
    # Reports over weeks read ten thousands of these: one look for all.
    known = [0.0 if number is None else number for number in numbers]
    if not (
        {type(channel), type(grain_s), type(start_ns)} == {int}
        and -_MOST_NS <= start_ns <= _MOST_NS
        and {*map(type, known)} == {float}
        and None not in numbers[2:]
        and 0.0 <= min(known) <= max(known) <= _MOST
    ):
        raise ValueError("no roll-up has such numbers")
    return Rollup(*row)


def mark(row: Sequence[Any]) -> tuple[int, int, bytes]:
    """Process, number of the row, frame of marks."""
    _, process, seq, data = row
    frame = _expect(data, bytes)
    if frame.startswith(STAGES_MAGIC):
        owner, frame = open_envelope(frame, STAGES_MAGIC)
        if owner != process:
            raise ValueError("another process' marks")
    return _expect(process, int), _expect(seq, int), frame


def incident(row: Sequence[Any]) -> Incident:
    """An event or a finding."""
    _, t_ns, kind, channel, count, text = row
    return Incident(
        _time(t_ns),
        _one_of(kind, EVENTS),
        _expect(channel, int),
        _within(count, int, 0, _MOST),
        _text(text),
    )


_MOST_CHANGES = 1 << 16
# What is larger reads as NULL, which is no blob and therefore named.
_DATA = f"CASE WHEN length(data)<{_MOST_DATA} THEN data END"
_INCIDENT = "id,t_ns,kind,channel,count,text"
_ROLLUP = "channel,grain_s,start_ns,energy_j,peak_w,covered_s,lost_j,variance_j2"

META = Query("meta", "key,value", pair, "LIMIT 1000")
STATS = Query("stats", "name,value", stat, "LIMIT 100000")
PROCESSES = Query(
    "process", ",".join(PROCESS_COLUMNS), process, "LIMIT 100000", sealed_since=1, key="id"
)
SOURCES = Query("source", "idx,name,available,reason,remedy", source, "ORDER BY idx LIMIT 1000")
CHANNELS = Query(
    "channel",
    f"idx,sampled,{','.join(CHANNEL_FIELDS)}",
    channel,
    "ORDER BY idx LIMIT 4096",
    sealed_since=1,
)
BLOCKS = Query(
    "block", "id,channel,first_seq,count,first_ns,last_ns", block, "ORDER BY id", key="id"
)
TAIL = Query("tail", f"seq,{_DATA}", tail, "ORDER BY seq", sealed_since=None, key="seq")
MARKS = Query("mark", f"id,process,seq,{_DATA}", mark, "ORDER BY id", sealed_since=None, key="id")
ALL_ROLLUPS = Query("rollup", _ROLLUP, rollup)
ROLLUPS = Query(
    "rollup",
    _ROLLUP,
    rollup,
    "WHERE channel=? AND grain_s=? AND start_ns>=? AND start_ns<? ORDER BY start_ns",
)
INCIDENTS = Query("event", _INCIDENT, incident, "ORDER BY id LIMIT 1000000", key="id")
FINDINGS = Query("finding", _INCIDENT, incident, "ORDER BY id LIMIT 1000000", key="id")
