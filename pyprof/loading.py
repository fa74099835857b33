"""Opening recordings: a file or the folder of a run, which are never changed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from pyprof.container import copied, is_being_written
from pyprof.errors import NewerSchemaError, RecordingError, brief
from pyprof.layout import APPLICATION_ID, VERSION
from pyprof.reading import read
from pyprof.recording import Recording
from pyprof.store import find_live

FOLDER_SUFFIX = ".d"
NODE_FILE = "node.pyprof"
STAGES_PREFIX = "stages-"

_BUSY_S = 5.0
# Of SQLite's machine. Reading every row of a file takes less than one a byte.
_LEAST_STEPS = 300_000
_STEPS_PER_BYTE = 2
_STEPS = 10_000


def load(path: str | os.PathLike[str]) -> Recording:
    """The recording at ``path``: a file, or the folder of a run that was cut short.

    Of ``RUN.pyprof``, ``RUN.pyprof.d`` is read where only that is left.
    """
    from pyprof.joining import load_folder

    file = Path(os.fspath(path))
    folder = file.with_name(file.name + FOLDER_SUFFIX)
    if file.is_dir():
        return load_folder(file)
    if not os.path.lexists(file) and folder.is_dir():
        return load_folder(folder)
    return load_file(file)


def load_file(file: Path) -> Recording:
    """The recording in one file, which is never changed."""
    live = find_live(file)
    if live is not None:
        with live.lock:
            return read(live.connection, str(file), live.session, live=True)
    with _one_reader:
        check_header(file)
        recorded_now = is_being_written(file)
    with opened(file) as connection:
        return read(connection, str(file), lambda: opened(file), live=recorded_now)


def check_header(file: Path) -> None:
    """Refuse what is not a recording of a version that can be read, before SQLite sees it."""
    header = _first_bytes(file)
    if len(header) == 0:
        raise RecordingError(f"{file} is empty, not a pyprof recording")
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise RecordingError(f"{file} is not a pyprof recording")
    version, application = (struct.unpack_from(">i", header, at)[0] for at in (60, 68))
    if application != APPLICATION_ID:
        raise RecordingError(f"{file} is a SQLite file but not a pyprof recording")
    if version > VERSION:
        raise NewerSchemaError(
            f"{file} has the recording schema {version}, this pyprof reads up to {VERSION}: "
            "update pyprof to read it"
        )
    if version < 1:
        raise RecordingError(f"{file} names no schema version: it is damaged")


def _first_bytes(file: Path) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RecordingError(f"{file} does not exist") from None
    except OSError as error:
        raise RecordingError(f"{file} can't be read: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RecordingError(f"{file} is not a file, so not a pyprof recording")
        return os.read(descriptor, 100)
    except OSError as error:
        raise RecordingError(f"{file} can't be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


# One at a time: closing one descriptor of a file drops this process' locks on all of them.
_one_reader = threading.RLock()


@contextlib.contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection inside one transaction; an unfinished commit is undone in a copy."""
    with _one_reader, contextlib.ExitStack() as stack:
        try:
            try:
                connection = stack.enter_context(_read_only(file))
            except sqlite3.OperationalError:
                if not os.path.exists(f"{file}-journal"):
                    raise
                connection = stack.enter_context(_recovered(file))
            yield connection
        except (sqlite3.Error, UnicodeError, MemoryError) as error:
            raise RecordingError(
                f"{file} can't be read as a recording ({brief(error)}): "
                f"`pyprof recover {file.name} -o NEW.pyprof` saves what is left"
            ) from None


@contextlib.contextmanager
def _read_only(file: Path, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    uri = f"{file.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    with contextlib.closing(connection):
        connection.set_progress_handler(_Patience(file.stat().st_size).spend, _STEPS)
        for setting in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "mmap_size=0"):
            connection.execute(f"PRAGMA {setting}").fetchall()
        connection.text_factory = _text_factory
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection


class _Patience:
    """An end to statements that no honest file of this size would need."""

    def __init__(self, size: int) -> None:
        """``size`` of the file in bytes."""
        self._left = _LEAST_STEPS + _STEPS_PER_BYTE * size

    def spend(self) -> bool:
        """Whether SQLite must give up."""
        self._left -= _STEPS
        return self._left < 0


def _text_factory(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


@contextlib.contextmanager
def _recovered(file: Path) -> Iterator[sqlite3.Connection]:
    """A copy in which SQLite may undo the commit that a kill interrupted."""
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(copied(file))
        except OSError as error:
            raise RecordingError(
                f"{file} was cut off within a write and can't be copied to be mended: "
                f"{error.strerror}"
            ) from None
        yield stack.enter_context(_read_only(copy, "rw"))
