"""Rows of a recording as values. They may be hostile: what can't be one is left out and named."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Generic, TypeVar

from pyprof import _native
from pyprof.energy import Source
from pyprof.layout import (
    CHANNEL_FIELDS,
    PROCESS_COLUMNS,
    Block,
    Incident,
    Process,
    Rollup,
    channel_of,
    row_crc,
    unpack,
)

_MOST_TEXT = 4096

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Query(Generic[_Row]):
    """Rows of a table and what makes a value of one."""

    table: str
    columns: str
    make: Callable[[Sequence[Any]], _Row]
    rest: str = ""

    @property
    def sql(self) -> str:
        """The statement."""
        return f"SELECT {self.columns} FROM {self.table} {self.rest}"


class Reader:
    """Rows as values; a row that can't be one is left out and named."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read through ``connection``."""
        self._connection = connection
        self.defects: list[str] = []

    def rows(self, query: Query[_Row]) -> list[_Row]:
        """Every sound row of ``query``."""
        out: list[_Row] = []
        bad = 0
        try:
            for row in self._connection.execute(query.sql):
                try:
                    out.append(query.make(row))
                except (TypeError, ValueError, ArithmeticError, zlib.error):
                    bad += 1
        except (sqlite3.Error, UnicodeError, MemoryError) as error:
            self.defects.append(
                f"the table {query.table} is damaged ({error}): its rest is missing"
            )
        if bad:
            self.defects.append(f"{bad} damaged rows of the table {query.table} were left out")
        return out


def _expect(value: Any, kind: type[_Row]) -> _Row:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _text(value: Any) -> str:
    return _expect(value, str)[:_MOST_TEXT]


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _whole_or_none(value: Any) -> int | None:
    return None if value is None else _expect(value, int)


def _check_crc(row: Sequence[Any]) -> None:
    if row_crc(row[:-1]) != row[-1]:
        raise ValueError("checksum")


def pair(row: Sequence[Any]) -> tuple[str, str]:
    """Key and value."""
    return _text(row[0]), _text(row[1])


def stat(row: Sequence[Any]) -> tuple[str, float]:
    """Name and number."""
    return _text(row[0]), float(_expect(row[1], float))


def process(row: Sequence[Any]) -> Process:
    """A process, its checksum verified."""
    _check_crc(row)
    given: dict[str, Any] = dict(zip(PROCESS_COLUMNS, row[:-1], strict=True))
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
        mono_ns=_expect(given["mono_ns"], int),
        boot_ns=_expect(given["boot_ns"], int),
        wall_ns=_expect(given["wall_ns"], int),
        offset_ns=_expect(given["offset_ns"], int),
        start_ns=_whole_or_none(given["start_ns"]),
        end_ns=_whole_or_none(given["end_ns"]),
        exit_status=_whole_or_none(given["exit_status"]),
        signal=_whole_or_none(given["signal"]),
        complete=bool(given["complete"]),
    )


def source(row: Sequence[Any]) -> Source:
    """A source."""
    return Source(_text(row[0]), bool(row[1]), _text_or_none(row[2]), _text_or_none(row[3]))


def channel(row: Sequence[Any]) -> tuple[int, _native.Channel]:
    """Index and channel, its checksum verified."""
    _check_crc(row)
    return _expect(row[0], int), channel_of(row[2:-1])


def block(row: Sequence[Any]) -> tuple[Block, bytes]:
    """Header and frame of a sealed block, which must agree."""
    header = Block(*(_expect(value, int) for value in row[:5]))
    frame = unpack(_expect(row[5], bytes))
    if _native.frame_info(frame) != [astuple(header)]:
        raise ValueError("header and frame differ")
    return header, frame


def blob(row: Sequence[Any]) -> bytes:
    """Bytes."""
    return _expect(row[0], bytes)


def rollup(row: Sequence[Any]) -> Rollup:
    """A roll-up, its checksum verified."""
    _check_crc(row)
    return Rollup(*row[:-1])


def mark(row: Sequence[Any]) -> tuple[int, int, bytes]:
    """Process, number of the row, frame of marks."""
    return _expect(row[0], int), _expect(row[1], int), _expect(row[2], bytes)


def incident(row: Sequence[Any]) -> Incident:
    """An event."""
    t_ns, kind, channel, count, text = row
    return Incident(
        _expect(t_ns, int), _text(kind), _expect(channel, int), _expect(count, int), _text(text)
    )


# What is larger reads as NULL, which is no blob and therefore named.
_DATA = f"CASE WHEN length(data)<{64 << 20} THEN data END"

META = Query("meta", "key,value", pair, "LIMIT 1000")
STATS = Query("stats", "name,value", stat, "LIMIT 1000")
PROCESSES = Query("process", f"{','.join(PROCESS_COLUMNS)},crc", process, "LIMIT 100000")
SOURCES = Query("source", "name,available,reason,remedy", source, "ORDER BY idx LIMIT 1000")
CHANNELS = Query(
    "channel", f"idx,sampled,{','.join(CHANNEL_FIELDS)},crc", channel, "ORDER BY idx LIMIT 4096"
)
BLOCKS = Query(
    "block",
    f"channel,first_seq,count,first_ns,last_ns,{_DATA}",
    block,
    "LEFT JOIN block_data USING(id) ORDER BY id",
)
TAIL = Query("tail", _DATA, blob, "ORDER BY seq")
MARKS = Query("mark", f"process,seq,{_DATA}", mark, "ORDER BY id")
ROLLUPS = Query("rollup", "channel,grain_s,start_ns,energy_j,peak_w,covered_s,crc", rollup)
INCIDENTS = Query("event", "t_ns,kind,channel,count,text", incident, "ORDER BY id LIMIT 1000000")
