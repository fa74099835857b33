"""One recording being written: a SQLite file that survives a kill, or memory when there is none."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyprof import _native, forks
from pyprof.container import BUSY_S, connect, copied, create, insert, is_busy, transaction
from pyprof.energy import Source
from pyprof.errors import PyprofError
from pyprof.host import NS_PER_S
from pyprof.layout import (
    APPLICATION_ID,
    CHANNELS_KEY,
    IDENTITY_MAGIC,
    MOST_IN_PAGE,
    PAGE_BYTES,
    SCHEMA,
    VERSION,
    Incident,
    Process,
    channel_row,
    envelop,
    incident_row,
    mark_row,
    process_row,
    sealed,
    source_row,
    split_frames,
)
from pyprof.notice import say
from pyprof.sealing import Sealer
from pyprof.tally import KEY, Tally

_READER_WAIT_S = 5.0
_MOST_COPIED_BYTES = 256 << 20
_IDENTITY_EVERY_NS = 600 * NS_PER_S
_INVENTORY = ("meta", "process", "source", "channel")


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
        tally = first_tally(head)
        meta = {**head.meta, CHANNELS_KEY: str(len(head.channels)), KEY: tally.to_text()}
        insert(connection, "meta", [sealed(*item) for item in meta.items()])
        insert(connection, "process", [process_row(head.process)])
        insert(connection, "source", [source_row(i, s) for i, s in enumerate(head.sources)])
        insert(
            connection,
            "channel",
            [channel_row(i, i < head.sampled, c) for i, c in enumerate(head.channels)],
        )
        insert_incidents(connection, head.incidents)
        insert_identity(connection, head.process.mono_ns)


def first_tally(head: Head) -> Tally:
    """The rows that a new recording has."""
    rows = {"meta": len(head.meta) + 2, "process": 1, "source": len(head.sources), "stats": 0}
    return Tally(events=len(head.incidents), rows=rows)


def insert_incidents(
    connection: sqlite3.Connection, incidents: Sequence[Incident], first: int = 0
) -> None:
    """Append events; ``first``: how many there are."""
    insert(connection, "event", [incident_row(i, each) for i, each in enumerate(incidents, first)])


def insert_identity(connection: sqlite3.Connection, t_ns: int) -> None:
    """The inventory once more in one piece of bytes, which a scan of a broken file finds."""
    tables = {
        table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in _INVENTORY
    }
    content = json.dumps({"schema": VERSION, "t_ns": t_ns, **tables}).encode()
    data = envelop(IDENTITY_MAGIC, 0, content)
    connection.execute("INSERT INTO identity VALUES(NULL,?,?)", (t_ns, data))


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
        fallback: Path | None = None,
        keep_raw_ns: int | None = None,
    ) -> None:
        """``path`` None: in memory. A file that can't be made is said once.

        Then, and when the file fails later, ``fallback`` is tried once, and memory after that.
        ``on_lost``: called when the file fails later; what comes then is dropped, not kept.
        ``keep_raw_ns``: older readings are given up for their roll-ups; None: never.
        """
        self._fallback = fallback
        self._on_lost = on_lost
        self._dropping = False
        self.lock = threading.RLock()
        self.path: Path | None = None
        self.head = head
        self.lost: str | None = None
        self.identity: tuple[int, int] | None = None
        self._guard = -1
        self._sealer = Sealer(keep_raw_ns)
        self._tally = first_tally(head)
        self._identity_ns = head.process.mono_ns
        if path is None or not self._open_first(path, overwrite):
            self.connection = _memory(head)
        forks.protect(self)

    def _open_first(self, path: Path, overwrite: bool) -> bool:
        def fill(connection: sqlite3.Connection) -> None:
            make_tables(connection, self.head)

        try:
            self._open_file(path, fill, overwrite)
            return True
        except (OSError, sqlite3.Error) as error:
            self.lost = f"{path} can't be written ({_why(error)})"
        return self._open_fallback(fill)

    def _open_file(
        self, path: Path, fill: Callable[[sqlite3.Connection], None], overwrite: bool = False
    ) -> None:
        guard = create(path, fill, overwrite=overwrite)
        try:
            self.connection = connect(str(path))
        except BaseException:
            os.close(guard)
            raise
        stat = os.fstat(guard)
        self._guard, self.path, self.identity = guard, path, (stat.st_dev, stat.st_ino)

    def _open_fallback(self, fill: Callable[[sqlite3.Connection], None]) -> bool:
        """The other place, tried once; says where the recording goes on."""
        path, self._fallback = self._fallback, None
        failed = ""
        if path is not None:
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._open_file(path, fill)
                say(f"{self.lost}: going on in {path}")
                return True
            except (OSError, sqlite3.Error, PyprofError) as error:
                failed = f", nor can {path} ({_why(error)})"
        say(f"{self.lost}{failed}: going on in memory")
        return False

    @contextlib.contextmanager
    def session(self) -> Iterator[sqlite3.Connection]:
        """The connection, for a reader of this process."""
        with self.lock:
            yield self.connection

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
        self._sealer.begin(tuple(self.head.channels)[: self.head.sampled], start_ns)

    def finish(self, end_ns: int, exit_status: int | None, signal: int | None) -> None:
        """Seal what is left and say that the recording is whole."""
        done = replace(
            self.head.process,
            end_ns=end_ns,
            exit_status=None if signal is not None else exit_status,
            signal=signal,
            complete=True,
        )
        self._steadily(lambda: self._end(end_ns, done))

    def _end(self, end_ns: int, done: Process) -> None:
        sealer, tally = self._sealer.copy(), self._tally.copy()
        with transaction(self.connection):
            sealer.seal(self.connection, end_ns, tally, last=True)
            insert(self.connection, "process", [process_row(done)])
            self._insert_tally(tally)
            insert_identity(self.connection, end_ns)
        self._sealer, self._tally = sealer, tally
        self.head = replace(self.head, process=done)

    def remember(self, key: str, text: str) -> None:
        """One more fact in ``meta``."""
        self._steadily(lambda: self._remember(key, text))

    def _remember(self, key: str, text: str) -> None:
        tally = self._tally.copy()
        kept = self.connection.execute("SELECT 1 FROM meta WHERE key=?", (key,)).fetchone()
        tally.rows["meta"] += 0 if kept else 1
        with transaction(self.connection):
            insert(self.connection, "meta", [sealed(key, text)])
            self._insert_tally(tally)
        self._tally = tally

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
        sealer, tally = self._sealer.copy(), self._tally.copy()
        infos = _native.frame_info(batch.frames) if batch.frames else []
        sealer.add(infos)
        for channel, first_seq, count, _, _ in infos:
            tally.add_changes(channel, first_seq, count)
        with transaction(self.connection):
            self._insert(batch, tally)
            if infos and sealer.is_due(batch.t_ns):
                sealer.seal(self.connection, batch.t_ns, tally)
                if batch.t_ns - self._identity_ns > _IDENTITY_EVERY_NS:
                    insert_identity(self.connection, batch.t_ns)
                    self._identity_ns = batch.t_ns
            self._insert_tally(tally)
        self._sealer, self._tally = sealer, tally

    def _insert(self, batch: Batch, tally: Tally) -> None:
        for data in _rows_of(batch.frames):
            self.connection.execute("INSERT INTO tail VALUES(NULL,?,?)", (batch.t_ns, data))
        process, marked = self.head.process.id, []
        for frame in (frame for marks in batch.marks for frame in split_frames(marks)):
            seq = tally.marks.get(process, 0)
            marked.append(mark_row(process, seq, batch.t_ns, frame))
            tally.add_marks(process, seq)
        insert(self.connection, "mark", marked)
        insert_incidents(self.connection, batch.incidents, tally.events)
        tally.events += len(batch.incidents)
        if batch.stats:
            rows = [sealed(name, float(value)) for name, value in batch.stats.items()]
            insert(self.connection, "stats", rows)
            counted = self.connection.execute("SELECT count(*) FROM stats")
            tally.rows["stats"] = counted.fetchone()[0]

    def _insert_tally(self, tally: Tally) -> None:
        insert(self.connection, "meta", [sealed(KEY, tally.to_text())])

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
        old, guard, path = self.connection, self._guard, self.path
        self._guard, self.path, self.identity = -1, None, None

        def fill(connection: sqlite3.Connection, most: int | None = None) -> None:
            if not (_copy(old, connection, most) or _copy_mended(old, path, connection, most)):
                self._begin_anew(connection)
            insert(connection, "process", [process_row(self.head.process)])

        if not self._open_fallback(fill):
            self.connection = connect(":memory:")
            fill(self.connection, _MOST_COPIED_BYTES)
        with contextlib.suppress(sqlite3.Error):
            old.close()
        if guard >= 0:
            with contextlib.suppress(OSError):
                os.close(guard)

    def _begin_anew(self, connection: sqlite3.Connection) -> None:
        """Nothing of the old place can be read: the gap is named by the counts."""
        make_tables(connection, self.head)
        fresh = first_tally(self.head)
        fresh.changes, fresh.marks = dict(self._tally.changes), dict(self._tally.marks)
        self._tally = fresh
        self._sealer.pending = {}


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, most: int | None) -> bool:
    """Whether what was committed, up to so many bytes, could be copied."""
    try:
        pages = old.execute("PRAGMA page_count").fetchone()[0]
        if most is None or pages * PAGE_BYTES <= most:
            old.backup(new)
            return True
    except sqlite3.Error:
        pass
    return False


def _copy_mended(
    old: sqlite3.Connection, path: Path | None, new: sqlite3.Connection, most: int | None
) -> bool:
    """The same where a commit failed and can't be undone in its place: it is undone in a copy."""
    with contextlib.suppress(sqlite3.Error):
        old.close()
    if path is None:
        return False
    try:
        with copied(path) as copy, contextlib.closing(connect(str(copy))) as mended:
            return _copy(mended, new, most)
    except (OSError, sqlite3.Error):
        return False


def _memory(head: Head) -> sqlite3.Connection:
    connection = connect(":memory:")
    make_tables(connection, head)
    return connection


def _rows_of(frames: bytes) -> Iterator[bytes]:
    """The frames of a commit in rows that fit a page, so that a scan finds each in one piece."""
    row = b""
    for frame in split_frames(frames):
        if row and len(row) + len(frame) > MOST_IN_PAGE:
            yield row
            row = b""
        row += frame
    if row:
        yield row


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
