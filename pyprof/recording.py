"""A recording as read: frames, marks, inventory and events of one run, from a file or a folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import struct
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof import _native, rows
from pyprof.container import is_being_written
from pyprof.energy import EnergyReport, Source
from pyprof.errors import NewerSchemaError, RecordingError, UsageError
from pyprof.layout import (
    APPLICATION_ID,
    CHANNELS_KEY,
    SAMPLER,
    SCHEMA,
    VERSION,
    Block,
    Incident,
    Process,
    Rollup,
)
from pyprof.store import find_live
from pyprof.tally import KEY, Tally

if TYPE_CHECKING:
    from pyprof.carbon import Scenario
    from pyprof.carbon.windows import Windows

FOLDER_SUFFIX = ".d"
NODE_FILE = "node.pyprof"
STAGES_PREFIX = "stages-"

_BUSY_S = 5.0
_TABLES = frozenset(re.findall(r"CREATE TABLE (\w+)", SCHEMA))


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded of a run. Times are CLOCK_MONOTONIC ns of the host that samples."""

    path: str | None
    meta: Mapping[str, str]
    processes: tuple[Process, ...]
    sources: tuple[Source, ...]
    channels: tuple[_native.Channel, ...]
    blocks: tuple[tuple[Block, bytes], ...]
    tail: tuple[bytes, ...]
    rollups: tuple[Rollup, ...]
    marks: tuple[tuple[int, bytes], ...]
    incidents: tuple[Incident, ...]
    stats: Mapping[str, float]
    live: bool = False
    defects: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Identity of the run."""
        return self.meta.get("run_id", "")

    @property
    def scope(self) -> str:
        """What the figures cover, in words."""
        return self.meta.get("scope", "")

    @property
    def process(self) -> Process:
        """The process that sampled; in a file of stages alone, the one that marked them."""
        for process in self.processes:
            if process.role == SAMPLER:
                return process
        return self.processes[0]

    @property
    def phase(self) -> str:
        """Phase of what is in no stage."""
        return self.process.phase

    @property
    def complete(self) -> bool:
        """False for a recording that was cut short, or still runs."""
        return self.process.complete

    @property
    def start_ns(self) -> int:
        """The instant from which the run counts."""
        start_ns = self.process.start_ns
        return self.process.mono_ns if start_ns is None else start_ns

    @property
    def end_ns(self) -> int:
        """The recorded end; where there is none, the last reading."""
        if self.process.end_ns is not None:
            return max(self.process.end_ns, self.start_ns)
        return max(self.last_read_ns, self.start_ns)

    @property
    def last_read_ns(self) -> int:
        """The last successful reading of any channel; the start if there is none."""
        last = self.start_ns
        for block, _ in self.blocks:
            last = max(last, block.last_ns)
        for data in self.tail:
            last = max([last, *(info[4] for info in _native.frame_info(data))])
        return last

    def frames(self) -> Iterator[bytes]:
        """Frames of all channels, sealed ones first."""
        for _, data in self.blocks:
            yield data
        yield from self.tail

    def shift_ns(self, process: int) -> int:
        """What makes a process' times those of the sampling one (another time namespace)."""
        offsets = {p.id: p.offset_ns for p in self.processes}
        return self.process.offset_ns - offsets.get(process, self.process.offset_ns)

    def report(
        self,
        zone: str | None = None,
        pue: float | None = None,
        scenario: Scenario | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        phase: str | None = None,
    ) -> EnergyReport:
        """Joules per stage and channel; with a zone or a scenario, kilograms as well.

        Without either, the scenario that the recording keeps. ``zone`` and ``pue`` override it one
        by one; a new zone is priced by today's tables.
        """
        energy = self.energy(start_ns, end_ns, phase)
        return price(energy, scenario if scenario is not None else self._scenario(zone, pue))

    def energy(
        self, start_ns: int | None = None, end_ns: int | None = None, phase: str | None = None
    ) -> EnergyReport:
        """Joules alone, of the whole or of a part. :func:`price` adds the kilograms."""
        energy = self._part(start_ns, end_ns, phase)
        return replace(energy, timed=_Hours(self, energy))

    @property
    def kept(self) -> Scenario | None:
        """The place and the factor that the run was first priced with, if any."""
        if "scenario" not in self.meta:
            return None
        from pyprof import carbon

        return carbon.scenario_in(self.meta)

    @property
    def kept_if_sound(self) -> Scenario | None:
        """The same for whoever gives another place: what can't be read is then left alone."""
        try:
            return self.kept
        except UsageError:
            return None

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[tuple[float, float, float]]:
        """When the energy was used; see :meth:`pyprof.energy.EnergyReport.power_series`."""
        return _Hours(self, self._part()).power_series(path, phase, edges_s)

    def _part(
        self, start_ns: int | None = None, end_ns: int | None = None, phase: str | None = None
    ) -> EnergyReport:
        """Joules alone, from all readings."""
        from pyprof.integrate import report

        return report(self, start_ns=start_ns, end_ns=end_ns, phase=phase)

    def _scenario(self, zone: str | None, pue: float | None) -> Scenario | None:
        """What is kept with what is given over it; None where it is not said where it ran."""
        given = {"zone": zone, "pue": pue}
        changes = {name: value for name, value in given.items() if value is not None}
        if "scenario" not in self.meta and not changes:
            return None
        from pyprof.carbon.scenario import Scenario, override

        kept = self.kept if zone is None else self.kept_if_sound

        return override(kept or Scenario(), changes)


@dataclass(frozen=True)
class _Hours:
    """When the energy of a report was used, asked of its recording."""

    recording: Recording
    whole: EnergyReport

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[tuple[float, float, float]]:
        return self._windows.power_series(path, phase, edges_s)

    @cached_property
    def _windows(self) -> Windows:
        from pyprof.carbon.windows import Windows

        return Windows(self.whole.run, len(self.whole.stage_rows), self._own)

    def _own(self, times_ns: Sequence[int]) -> Sequence[tuple[str, str, Sequence[float | None]]]:
        """Of every row what is its own, from the account that the report was made of."""
        from pyprof.integrate import account

        run, phase = self.whole.run, self.whole.stage_rows[0].phase
        return account(self.recording, run.start_mono_ns, run.end_mono_ns, phase).own(times_ns)


def price(report: EnergyReport, scenario: Scenario | None) -> EnergyReport:
    """The report with a footprint, if it is said where it ran."""
    if scenario is None or not scenario.has_place:
        return replace(report, footprint=None)
    from pyprof import carbon

    return replace(report, footprint=carbon.account(report, scenario))


def join(node: Recording, others: Sequence[Recording]) -> Recording:
    """One recording of a run: the sampling one with the stages of other processes.

    Processes join by time: only those of the same boot can be. What is wrong with the others'
    files becomes a note.
    """
    processes, marks = list(node.processes), list(node.marks)
    notes: list[str] = []
    next_id = max((process.id for process in processes), default=0) + 1
    for other in others:
        notes.extend(other.defects)
        if other.process.boot_id != node.process.boot_id:
            notes.append(f"stages of process {other.process.pid} are of another boot, so left out")
            continue
        ids = {process.id: next_id + i for i, process in enumerate(other.processes)}
        next_id += len(ids)
        processes.extend(replace(process, id=ids[process.id]) for process in other.processes)
        marks.extend((ids[process], data) for process, data in other.marks if process in ids)
    joined = replace(node, processes=tuple(processes), marks=tuple(marks))
    return with_notes(joined, notes)


def with_notes(recording: Recording, notes: Iterable[str]) -> Recording:
    """The recording with more to be said of it."""
    added = (Incident(recording.start_ns, "note", -1, 1, note) for note in notes)
    return replace(recording, incidents=(*recording.incidents, *added))


# -- loading ---------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str]) -> Recording:
    """The recording at ``path``: a file, or the folder of a run that was cut short.

    Of ``RUN.pyprof``, ``RUN.pyprof.d`` is read where only that is left.
    """
    file = Path(os.fspath(path))
    folder = file.with_name(file.name + FOLDER_SUFFIX)
    if file.is_dir():
        return load_folder(file)
    if not os.path.lexists(file) and folder.is_dir():
        return load_folder(folder)
    return load_file(file)


def load_folder(folder: Path) -> Recording:
    """The files of a run's folder as one recording."""
    node = folder / NODE_FILE
    if not node.exists():
        raise RecordingError(
            f"{folder} is not the folder of a run: it has no {NODE_FILE}; give a .pyprof file"
        )
    return replace(join_folder(load_file(node), folder), path=str(folder))


def join_folder(node: Recording, folder: Path) -> Recording:
    """``node`` with the stages that processes have written into the run's folder."""
    others, unreadable = [], []
    for file in sorted(folder.glob(f"{STAGES_PREFIX}*.pyprof")):
        try:
            others.append(load_file(file))
        except RecordingError as error:
            unreadable.append(str(error))
    return with_notes(join(node, others), unreadable)


def load_file(file: Path) -> Recording:
    """The recording in one file, which is never changed."""
    live = find_live(file)
    if live is not None:
        with live.lock:
            return read(live.connection, str(file), live=True)
    with _one_reader:
        check_header(file)
        recorded_now = is_being_written(file)
    with opened(file) as connection:
        return read(connection, str(file), live=recorded_now)


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
            raise RecordingError(f"{file} can't be read as a recording: {error}") from None


@contextlib.contextmanager
def _read_only(file: Path, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    uri = f"{file.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    with contextlib.closing(connection):
        for setting in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "mmap_size=0"):
            connection.execute(f"PRAGMA {setting}").fetchall()
        connection.text_factory = _text_factory
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection


def _text_factory(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


@contextlib.contextmanager
def _recovered(file: Path) -> Iterator[sqlite3.Connection]:
    """A copy in which SQLite may undo the commit that a kill interrupted."""
    with tempfile.TemporaryDirectory(prefix="pyprof-") as folder:
        copy = Path(folder) / "recording.pyprof"
        try:
            shutil.copyfile(file, copy)
            shutil.copyfile(f"{file}-journal", f"{copy}-journal")
        except OSError as error:
            raise RecordingError(
                f"{file} was cut off within a write and can't be copied to be mended: "
                f"{error.strerror}"
            ) from None
        with _read_only(copy, "rw") as connection:
            yield connection


# -- reading rows ----------------------------------------------------------------------------------


def read(connection: sqlite3.Connection, path: str | None, *, live: bool) -> Recording:
    """All of a recording, copied to memory."""
    _check_schema(connection, path)
    reader = rows.Reader(connection)
    name = path or "the recording"
    processes = reader.rows(rows.PROCESSES)
    if not processes:
        raise RecordingError(f"{name} is damaged: it names no process")
    meta = dict(reader.rows(rows.META))
    channels = _channels(reader, name, meta.get(CHANNELS_KEY))
    if channels and all(process.role != SAMPLER for process in processes):
        raise RecordingError(f"{name} is damaged: it does not name the process that sampled")
    recording = Recording(
        path=path,
        meta=meta,
        processes=tuple(processes),
        sources=tuple(reader.rows(rows.SOURCES)),
        channels=channels,
        blocks=tuple(reader.rows(rows.BLOCKS)),
        tail=tuple(reader.rows(rows.TAIL)),
        rollups=tuple(reader.rows(rows.ROLLUPS)),
        marks=(),
        incidents=tuple(reader.rows(rows.INCIDENTS)),
        stats=dict(reader.rows(rows.STATS)),
        live=live,
    )
    marks = reader.rows(rows.MARKS)
    defects = (*reader.defects, *_count(recording, marks))
    kept = tuple((process, data) for process, _, data in marks)
    return replace(recording, marks=kept, defects=defects)


def _channels(reader: rows.Reader, name: str, kept: str | None) -> tuple[_native.Channel, ...]:
    """The inventory must be whole: without it no joule is what it says. ``kept``: its length."""
    found = reader.rows(rows.CHANNELS)
    sound = [index for index, _ in found] == list(range(len(found))) and kept == str(len(found))
    if not sound or any("table channel" in defect for defect in reader.defects):
        raise RecordingError(f"{name} is damaged: its inventory of channels is not whole")
    return tuple(channel for _, channel in found)


def _count(recording: Recording, marks: Sequence[tuple[int, int, bytes]]) -> Iterable[str]:
    """Defects that only counting shows."""
    tally = Tally(events=len(recording.incidents))
    for block, _ in recording.blocks:
        tally.add_changes(block.channel, block.first_seq, block.count)
    for data in recording.tail:
        for channel, first_seq, count, _, _ in _native.frame_info(data):
            tally.add_changes(channel, first_seq, count)
    for process, seq, _ in marks:
        tally.add_marks(process, seq)
    kept = recording.meta.get(KEY)
    return tally.defects("" if kept is None and recording.complete else kept)


def _check_schema(connection: sqlite3.Connection, path: str | None) -> None:
    found = connection.execute("SELECT type,name,sql FROM sqlite_master").fetchall()
    for kind, name, sql in found:
        if kind in ("view", "trigger") or "VIRTUAL" in str(sql).upper():
            raise RecordingError(f"{path} holds the {kind} {name!r}, which no recording does")
    missing = _TABLES - {name for kind, name, _ in found if kind == "table"}
    if missing:
        raise RecordingError(f"{path} is damaged: it has no table {min(missing)}")
