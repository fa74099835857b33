"""The SQLite file of a recording: made whole under its own name, guarded, transacted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyprof import forks
from pyprof.errors import UsageError
from pyprof.layout import PAGE_BYTES

#: A foreign reader's short transaction is waited for; a longer one costs a retry, not a stall.
BUSY_S = 0.05
_MEMORY_DISK = "/dev/shm"
_SIDE_FILES = ("-journal", "-wal", "-shm")

Filler = Callable[[sqlite3.Connection], None]


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse to write over anything that is not meant to be replaced."""
    if os.path.islink(path):
        raise UsageError(f"{path} is a symbolic link: give the file itself or another name")
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder: give the name of a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file: give the name of one")
    if is_being_written(path):
        raise UsageError(
            f"{path} is being recorded right now: give another name, or {path.name}.d to every "
            "process that shall share it"
        )
    if overwrite:
        return
    for side in ("", *_SIDE_FILES):
        if os.path.lexists(f"{path}{side}"):
            raise UsageError(f"{path}{side} exists: give another name, or overwrite it on purpose")


def is_being_written(path: str | Path) -> bool:
    """Whether some process still holds the guard of the recording at ``path``."""
    found = _identity(path)
    if found is not None and forks.holds(found):
        return True
    try:
        probe = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(probe)
    return False


def create(path: Path, fill: Filler, *, overwrite: bool = False) -> int:
    """Make a recording that is whole from its first instant on; returns its guard.

    Tables are made under a temporary name in the same folder, then the file takes its own name
    without replacing another. The guard is a flock'ed descriptor: it must outlive every SQLite
    connection of this process to the file, because closing it drops their locks.
    """
    check_free(path, overwrite)
    temporary = path.parent / f".pyprof-{os.getpid():x}-{time.monotonic_ns():x}.tmp"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    guard = os.open(temporary, flags, 0o600)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no flock
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.closing(connect(str(temporary))) as connection:
            fill(connection)
        _place(temporary, path, overwrite)
    except BaseException:
        os.close(guard)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return guard


def _place(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        for side in _SIDE_FILES:  # a dead file's journal would be played back into the new one
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{path}{side}")
        os.replace(temporary, path)
    else:
        _place_new(temporary, path)
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _place_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path, follow_symlinks=False)
        os.unlink(temporary)
        return
    except FileExistsError:
        raise UsageError(f"{path} exists: give another name") from None
    except OSError:
        pass  # no hard links here: claim the name, then put the file in its place
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    os.rename(temporary, path)


@contextlib.contextmanager
def copied(file: Path) -> Iterator[Path]:
    """A copy with its journal, in which SQLite may undo the commit that was interrupted."""
    with contextlib.ExitStack() as stack:
        failed: OSError | None = None
        for place in (tempfile.gettempdir(), _MEMORY_DISK):
            try:
                folder = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="pyprof-", dir=place)
                )
                copy = Path(folder) / "copy.db"
                shutil.copyfile(file, copy)
                if os.path.exists(f"{file}-journal"):
                    shutil.copyfile(f"{file}-journal", f"{copy}-journal")
                break
            except OSError as error:
                failed = error
        else:
            assert failed is not None
            raise failed
        yield copy


def connect(path: str) -> sqlite3.Connection:
    """A connection that writes as the layout demands; the schema is not made here."""
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        for setting in (
            f"page_size={PAGE_BYTES}",
            "journal_mode=DELETE",
            "synchronous=FULL",
            "temp_store=MEMORY",
            "trusted_schema=OFF",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def insert(connection: sqlite3.Connection, table: str, rows: Any) -> None:
    """Rows of all columns of ``table``."""
    rows = [tuple(row) for row in rows]
    if rows:
        places = ",".join("?" * len(rows[0]))
        connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES({places})", rows)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another program holds the file, which passes."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
