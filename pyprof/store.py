"""One recording being written: a SQLite file that survives a kill, or memory when there is none."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyprof import _native, forks
from pyprof.container import BUSY_S, connect, create, insert, is_busy, transaction
from pyprof.energy import Source
from pyprof.layout import (
    APPLICATION_ID,
    BLOCK_CHANGES,
    CHANNELS_KEY,
    PAGE_BYTES,
    SCHEMA,
    VERSION,
    Incident,
    Process,
    channel_row,
    pack,
    process_row,
    rollup_row,
    split_frames,
)
from pyprof.notice import say
from pyprof.rollups import Grains
from pyprof.tally import KEY, Tally

_SEAL_AGE_NS = 300 * 1_000_000_000
_READER_WAIT_S = 5.0
_MOST_COPIED_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """What is known before the first reading."""

    meta: Mapping[str, str]
    process: Process
    sources: Sequence[Source] = ()
    channels: Sequence[_native.Channel] = ()
    sampled: int = 0
    incidents: Sequence[Incident] = ()


@dataclass(slots=True)
class Batch:
    """What one commit brings."""

    t_ns: int
    frames: bytes = b""
    marks: Sequence[bytes] = ()
    incidents: Sequence[Incident] = ()
    stats: Mapping[str, float] | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.frames or self.marks or self.incidents or self.stats)

    def merge(self, later: Batch) -> None:
        """Take in what came after this one."""
        self.t_ns = later.t_ns
        self.frames += later.frames
        self.marks = [*self.marks, *later.marks]
        self.incidents = [*self.incidents, *later.incidents]
        self.stats = later.stats if later.stats is not None else self.stats


def make_tables(connection: sqlite3.Connection, head: Head) -> None:
    """Empty tables, then what is known before the first reading."""
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    with transaction(connection):
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        meta = {**head.meta, CHANNELS_KEY: str(len(head.channels))}
        insert(connection, "meta", meta.items())
        insert(connection, "process", [process_row(head.process)])
        insert(connection, "source", [_source_row(i, s) for i, s in enumerate(head.sources)])
        insert(
            connection,
            "channel",
            [channel_row(i, i < head.sampled, c) for i, c in enumerate(head.channels)],
        )
        insert_incidents(connection, head.incidents)


def _source_row(index: int, source: Source) -> tuple[Any, ...]:
    return (index, source.name, int(source.available), source.reason, source.remedy)


def insert_incidents(connection: sqlite3.Connection, incidents: Sequence[Incident]) -> None:
    """Append events."""
    rows = [(None, i.t_ns, i.kind, i.channel, i.count, i.text) for i in incidents]
    insert(connection, "event", rows)


def find_live(path: str | Path) -> Store | None:
    """The store of this process that writes ``path``: it must not be opened a second time."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    for store in forks.guarded():
        if isinstance(store, Store) and store.identity == (found.st_dev, found.st_ino):
            return store
    return None


class Store:
    """Commits batches; seals tail rows into blocks; goes on in memory if the file fails.

    One thread writes; others may read through ``connection`` while they hold ``lock``.
    """

    def __init__(
        self,
        path: Path | None,
        head: Head,
        *,
        overwrite: bool = False,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """``path`` None: in memory. A file that can't be made is said once, and memory is used.

        ``on_lost``: called when the file fails later; what comes then is dropped, not kept.
        """
        self._on_lost = on_lost
        self._dropping = False
        self.lock = threading.RLock()
        self.path: Path | None = None
        self.head = head
        self.lost: str | None = None
        self.identity: tuple[int, int] | None = None
        self._guard = -1
        self._pending: dict[int, int] = {}
        self._tail_since_ns: int | None = None
        self._grains: Grains | None = None
        self._tally = Tally(events=len(head.incidents))
        if path is not None:
            self._open_file(path, overwrite)
        if self.path is None:
            self.connection = _memory(head)
        forks.protect(self)

    def _open_file(self, path: Path, overwrite: bool) -> None:
        try:
            self._guard = create(path, lambda c: make_tables(c, self.head), overwrite=overwrite)
            try:
                self.connection = connect(str(path))
            except BaseException:
                os.close(self._guard)
                self._guard = -1
                raise
        except (OSError, sqlite3.Error) as error:
            self.lost = f"{path} can't be written ({_why(error)})"
            say(f"{self.lost}: going on in memory")
            return
        stat = os.fstat(self._guard)
        self.path, self.identity = path, (stat.st_dev, stat.st_ino)

    def commit(self, batch: Batch) -> bool:
        """Write ``batch`` for good; False if a foreign reader holds the file (try again later)."""
        with self.lock:
            if self._dropping:
                return True
            if self.path is not None and not self._in_place():
                self._retreat("it is no longer where it was made")
                if self._dropping:
                    return True
            try:
                self._write(batch)
            except sqlite3.Error as error:
                if is_busy(error):
                    return False
                if self.path is None:
                    raise
                self._retreat(_why(error))
                if not self._dropping:
                    self._write(batch)
            return True

    def begin(self, start_ns: int) -> None:
        """The instant from which the run counts."""
        self._set_process(replace(self.head.process, start_ns=start_ns))
        self._grains = Grains(tuple(self.head.channels)[: self.head.sampled], start_ns)

    def finish(self, end_ns: int, exit_status: int | None, signal: int | None) -> None:
        """Seal what is left and say that the recording is whole."""
        self._steadily(lambda: self._seal(end_ns))
        self._steadily(lambda: self._replace_rows("meta", [(KEY, self._tally.to_text())]))
        done = replace(
            self.head.process,
            end_ns=end_ns,
            exit_status=None if signal is not None else exit_status,
            signal=signal,
            complete=True,
        )
        self._set_process(done)

    def close(self) -> None:
        """End of writing. A store in memory is gone with it."""
        with self.lock:
            forks.release(self)
            with contextlib.suppress(sqlite3.Error):
                self.connection.close()
            self._release()

    def abandon(self) -> None:
        """In the child of a fork: neither use nor close what belongs to the parent."""
        forks.leak(self.connection)
        self.lock = threading.RLock()
        self.identity = None
        self._release()

    def _release(self) -> None:
        if self._guard >= 0:
            with contextlib.suppress(OSError):
                os.close(self._guard)
            self._guard = -1

    # -- one commit

    def _write(self, batch: Batch) -> None:
        infos = _native.frame_info(batch.frames) if batch.frames else []
        counts = dict(self._pending)
        for channel, _, count, _, _ in infos:
            counts[channel] = counts.get(channel, 0) + count
        since_ns = self._tail_since_ns if self._tail_since_ns is not None else batch.t_ns
        full = max(counts.values(), default=0) >= BLOCK_CHANGES
        due = bool(infos) and (full or batch.t_ns - since_ns > _SEAL_AGE_NS)
        grains = self._grains
        with transaction(self.connection):
            self._insert(batch)
            if due:
                grains = self._seal_rows(batch.t_ns, whole=True)
        self._grains = grains
        self._count(batch, infos)
        if infos:
            self._pending = {} if due else counts
            self._tail_since_ns = None if due else since_ns

    def _count(self, batch: Batch, infos: Sequence[tuple[int, int, int, int, int]]) -> None:
        for channel, first_seq, count, _, _ in infos:
            self._tally.add_changes(channel, first_seq, count)
        for _ in batch.marks:
            self._tally.add_marks(self.head.process.id, self._mark_rows)
        self._tally.events += len(batch.incidents)

    @property
    def _mark_rows(self) -> int:
        return self._tally.marks.get(self.head.process.id, 0)

    def _insert(self, batch: Batch) -> None:
        if batch.frames:
            self.connection.execute("INSERT INTO tail VALUES(NULL,?,?)", (batch.t_ns, batch.frames))
        process, marks = self.head.process.id, enumerate(batch.marks, self._mark_rows)
        insert(
            self.connection,
            "mark",
            [(None, process, seq, batch.t_ns, data) for seq, data in marks],
        )
        insert_incidents(self.connection, batch.incidents)
        if batch.stats:
            insert(self.connection, "stats", batch.stats.items())

    def _seal(self, end_ns: int) -> None:
        with transaction(self.connection):
            grains = self._seal_rows(end_ns, whole=False)
        self._grains, self._pending, self._tail_since_ns = grains, {}, None

    def _seal_rows(self, until_ns: int, *, whole: bool) -> Grains | None:
        """Tail rows into blocks, and roll-ups of the minutes that are over by now."""
        grains = self._grains
        rows = self.connection.execute("SELECT data FROM tail ORDER BY seq").fetchall()
        for group in _groups([row[0] for row in rows]):
            joined = _native.join_frames(group)
            grains = None if grains is None else grains.add(joined)
            for frame in split_frames(joined):
                self._insert_block(frame)
        self.connection.execute("DELETE FROM tail")
        if grains is None:
            return None
        grains, rollups = grains.close(until_ns, whole=whole)
        insert(self.connection, "rollup", [rollup_row(rollup) for rollup in rollups])
        return grains

    def _insert_block(self, frame: bytes) -> None:
        for channel, first_seq, count, first_ns, last_ns in _native.frame_info(frame):
            cursor = self.connection.execute(
                "INSERT INTO block VALUES(NULL,?,?,?,?,?)",
                (channel, first_seq, count, first_ns, last_ns),
            )
            data = pack(frame, channel)
            self.connection.execute("INSERT INTO block_data VALUES(?,?)", (cursor.lastrowid, data))

    def _set_process(self, process: Process) -> None:
        self.head = replace(self.head, process=process)
        self._steadily(lambda: self._replace_rows("process", [process_row(process)]))

    def _replace_rows(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        with transaction(self.connection):
            insert(self.connection, table, rows)

    # -- when the file fails

    def _steadily(self, action: Callable[[], None]) -> None:
        """A rare write: foreign readers are waited for, then memory takes over if it must."""
        until = time.monotonic() + _READER_WAIT_S
        while True:
            try:
                with self.lock:
                    action()
                return
            except sqlite3.Error as error:
                if is_busy(error) and time.monotonic() < until:
                    time.sleep(BUSY_S)
                    continue
                if self.path is None or self._dropping:
                    return
                with self.lock:
                    self._retreat(_why(error))

    def _in_place(self) -> bool:
        try:
            found = os.lstat(str(self.path))
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self.identity

    def _retreat(self, reason: str) -> None:
        """Go on in memory with a copy of what can still be read."""
        self.lost = f"{self.path} can't be written any more ({reason})"
        if self._on_lost is not None:
            self._dropping = True
            self._on_lost()
            return
        memory, whole = _copy_to_memory(self.connection, self.head)
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()
        self._release()
        self.connection, self.path, self.identity = memory, None, None
        rest = "" if whole else "; what it holds is no longer in this process' own report"
        say(f"{self.lost}: going on in memory{rest}")


def _memory(head: Head) -> sqlite3.Connection:
    connection = connect(":memory:")
    make_tables(connection, head)
    return connection


def _copy_to_memory(connection: sqlite3.Connection, head: Head) -> tuple[sqlite3.Connection, bool]:
    memory = connect(":memory:")
    try:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        if pages * PAGE_BYTES <= _MOST_COPIED_BYTES:
            connection.backup(memory)
            insert(memory, "process", [process_row(head.process)])
            return memory, True
    except sqlite3.Error:
        memory.close()
        memory = connect(":memory:")
    make_tables(memory, head)
    return memory, False


def _groups(rows: Sequence[bytes]) -> Iterator[bytes]:
    """Consecutive tail rows whose changes of any one channel fit a block."""
    group: list[bytes] = []
    counts: dict[int, int] = {}
    for data in rows:
        new = {channel: count for channel, _, count, _, _ in _native.frame_info(data)}
        if group and any(counts.get(c, 0) + n > BLOCK_CHANGES for c, n in new.items()):
            yield b"".join(group)
            group, counts = [], {}
        group.append(data)
        for channel, count in new.items():
            counts[channel] = counts.get(channel, 0) + count
    if group:
        yield b"".join(group)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
