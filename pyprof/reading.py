"""From the tables of a recording to its values; damage is left out and named."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pyprof import _native, rows
from pyprof.errors import RecordingError
from pyprof.layout import CHANNELS_KEY, LATER_TABLES, SAMPLER, SCHEMA, SHORT_CHANGES, Block
from pyprof.recording import Recording
from pyprof.shelf import FileShelf, MemoryShelf, Session, Shelf
from pyprof.tally import KEY, Tally

_TABLES = frozenset(re.findall(r"CREATE TABLE (\w+)", SCHEMA))


def read(
    connection: sqlite3.Connection, path: str | None, session: Session | None, *, live: bool
) -> Recording:
    """A recording, its inventory and headers copied to memory, of a short one the readings too.

    ``session`` opens it again for the rest; None: everything is copied now.
    """
    version = _check_schema(connection, path)
    reader = rows.Reader(connection, version)
    name = path or "the recording"
    processes = reader.rows(rows.PROCESSES)
    if not processes:
        raise RecordingError(f"{name} is damaged: it names no process")
    meta = dict(reader.rows(rows.META))
    channels = _channels(reader, name, meta.get(CHANNELS_KEY))
    if channels and all(process.role != SAMPLER for process in processes):
        raise RecordingError(f"{name} is damaged: it does not name the process that sampled")
    blocks = reader.rows(rows.BLOCKS)
    shelf, damaged = _shelve(reader, blocks, session)
    recording = Recording(
        path=path,
        meta=meta,
        processes=tuple(processes),
        sources=tuple(reader.rows(rows.SOURCES)),
        channels=channels,
        blocks=tuple(block for block in blocks if block.id not in damaged),
        shelf=shelf,
        tail=tuple(reader.rows(rows.TAIL)),
        marks=(),
        incidents=tuple(reader.rows(rows.INCIDENTS)),
        stats=dict(reader.rows(rows.STATS)),
        findings=tuple(reader.rows(rows.FINDINGS)) if version > 1 else (),
        thinned=_thinned(meta),
        live=live,
    )
    marks = reader.rows(rows.MARKS)
    defects = (*reader.defects, *_count(recording, marks, version))
    kept = tuple((process, data) for process, _, data in marks)
    return replace(recording, marks=kept, defects=defects)


def _shelve(
    reader: rows.Reader, blocks: Sequence[Block], session: Session | None
) -> tuple[Shelf, set[int]]:
    """Where the readings lie, and the blocks that are known to be damaged."""
    changes = sum(block.count for block in blocks)
    if session is not None and changes > SHORT_CHANGES:
        return FileShelf(session, reader.version), set()
    found = {block.id: rows.frame_of(reader.connection, block) for block in blocks}
    damaged = {number for number, frame in found.items() if frame is None}
    if damaged:
        reader.defects.append(f"{len(damaged)} damaged rows of the table block were left out")
    sound = {number: frame for number, frame in found.items() if frame is not None}
    rolled = reader.rows(rows.ALL_ROLLUPS) if reader.version > 1 else []
    return MemoryShelf(sound, rolled), damaged


def _thinned(meta: Mapping[str, str]) -> Mapping[int, int]:
    kept = Tally.parse(meta.get(KEY, ""))
    return {} if kept is None else kept.thinned


def _channels(reader: rows.Reader, name: str, kept: str | None) -> tuple[_native.Channel, ...]:
    """The inventory must be whole: without it no joule is what it says. ``kept``: its length."""
    found = reader.rows(rows.CHANNELS)
    sound = [index for index, _ in found] == list(range(len(found))) and kept == str(len(found))
    if not sound or any("table channel" in defect for defect in reader.defects):
        raise RecordingError(f"{name} is damaged: its inventory of channels is not whole")
    if len({channel.id for _, channel in found}) < len(found):
        raise RecordingError(f"{name} is damaged: its inventory names a channel twice")
    return tuple(channel for _, channel in found)


def _count(
    recording: Recording, marks: Sequence[tuple[int, int, bytes]], version: int
) -> Iterable[str]:
    """Defects that only counting shows."""
    text = recording.meta.get(KEY)
    kept = None if text is None else Tally.parse(text)
    tally = Tally(
        events=len(recording.incidents),
        findings=len(recording.findings),
        rows={
            "meta": len(recording.meta),
            "process": len(recording.processes),
            "source": len(recording.sources),
            "stats": len(recording.stats),
        },
        thinned={} if kept is None else kept.thinned,
    )
    for block in recording.blocks:
        tally.add_changes(block.channel, block.first_seq, block.count)
    for data in recording.tail:
        for channel, first_seq, count, _, _ in _native.frame_info(data):
            tally.add_changes(channel, first_seq, count)
    for process, seq, _ in marks:
        tally.add_marks(process, seq)
    expected = recording.complete or version > 1
    return tally.defects(kept, damaged=kept is None and (text is not None or expected))


def _check_schema(connection: sqlite3.Connection, path: str | None) -> int:
    """The version of a file that holds the tables of a recording and nothing that acts."""
    found = connection.execute("SELECT type,name,sql FROM sqlite_master").fetchall()
    for kind, name, sql in found:
        if kind in ("view", "trigger") or "VIRTUAL" in str(sql).upper():
            raise RecordingError(f"{path} holds the {kind} {name!r}, which no recording does")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    needed = _TABLES - LATER_TABLES if version == 1 else _TABLES
    missing = needed - {name for kind, name, _ in found if kind == "table"}
    if missing:
        raise RecordingError(f"{path} is damaged: it has no table {min(missing)}")
    return version
