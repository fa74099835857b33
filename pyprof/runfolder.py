"""The folder of a run of many processes: each writes its own file, a report joins them by time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyprof
from pyprof import _native, container, forks, host, leaving
from pyprof.copying import fill
from pyprof.errors import PyprofError, RecordingError, UsageError
from pyprof.layout import SAMPLER, STAGES, VERSION, Process, mark_row, process_row, sealed
from pyprof.loading import (
    FOLDER_SUFFIX,
    NODE_FILE,
    STAGES_PREFIX,
    join_folder,
    load_file,
    load_folder,
    opened,
)
from pyprof.notice import say
from pyprof.reading import read
from pyprof.recording import Recording, join
from pyprof.store import Batch, Head, Store, insert_identity, insert_incidents
from pyprof.tally import KEY, Tally
from pyprof.writer import PERIOD_S, Writer

VARIABLE = "PYPROF_RUN"
PHASE_VARIABLE = "PYPROF_RUN_PHASE"
_PHASES = ("development", "training", "deployment")
_NODE_PATIENCE_S = 4 * PERIOD_S + 1.0


@dataclass(frozen=True, slots=True)
class Surrounding:
    """The run that this process is part of."""

    folder: Path
    phase: str


def environment(folder: Path, phase: str) -> dict[str, str]:
    """What the processes of a run find in their environment."""
    return {VARIABLE: str(folder), PHASE_VARIABLE: phase}


def folder_of(out: Path) -> Path:
    """``RUN.pyprof.d`` of ``RUN.pyprof``."""
    return out.with_name(out.name + FOLDER_SUFFIX)


_known: Surrounding | None = None
_looked = False


def surrounding() -> Surrounding | None:
    """The run around this process, or None; the environment is looked at once."""
    global _known, _looked
    if not _looked:
        _known, _looked = _look(os.environ), True
    return _known


def _look(variables: Mapping[str, str]) -> Surrounding | None:
    folder = variables.get(VARIABLE, "")
    if not os.path.isabs(folder):
        return None
    phase = variables.get(PHASE_VARIABLE, "")
    return Surrounding(Path(folder), phase if phase in _PHASES else "training")


def new_process(role: str, phase: str, command: str | None, argv: str | None = None) -> Process:
    """This process as a recording names it."""
    clocks = host.anchor()
    return Process(
        id=1,
        role=role,
        pid=os.getpid(),
        host=host.hostname(),
        boot_id=host.boot_id(),
        machine_id=host.machine_id(),
        command=command,
        argv=argv,
        phase=phase,
        mono_ns=clocks.mono_ns,
        boot_ns=clocks.boot_ns,
        wall_ns=clocks.wall_ns,
        offset_ns=host.monotonic_offset_ns(),
        start_ns=clocks.mono_ns if role != SAMPLER else None,
        end_ns=None,
        exit_status=None,
        signal=None,
        complete=False,
    )


# -- the stages of one process ---------------------------------------------------------------------


class StageLog:
    """This process' stages in a file of its own, made when there is something to write."""

    def __init__(self, run: Surrounding) -> None:
        """Nothing is opened yet."""
        self.run = run
        name = f"{STAGES_PREFIX}{os.getpid()}-{time.monotonic_ns()}.pyprof"
        self.path = run.folder / name
        self._process = new_process(STAGES, run.phase, host.program_name())
        self._writer = Writer(self._open, self._collect, lazily=True)

    def start(self) -> None:
        """Log marks from now on."""
        _native.start_marks(self.run.phase)
        self._writer.start()
        leaving.at_exit(self.close)

    def close(self) -> None:
        """The last commit of this process."""
        if not self._writer.running:
            return
        end_ns = time.monotonic_ns()
        _native.stop_marks()
        self._writer.post(lambda made: _end(made, end_ns))
        self._writer.stop()

    def recording(self) -> Recording | None:
        """What this process has marked up to now; None if that is nothing."""
        self._writer.flush()
        made = self._writer.store
        if made is None:
            return None
        with made.lock:
            return read(made.connection, str(self.path), made.session, live=True)

    def _open(self) -> Store:
        head = Head({"pyprof_version": pyprof.__version__}, self._process)
        if not self.run.folder.is_dir():
            self._give_up()
            raise PyprofError(f"the folder of the run, {self.run.folder}, is gone")
        made = Store(self.path, head, on_lost=self._give_up)
        if made.path is None:
            self._give_up()
        return made

    def _collect(self) -> Batch:
        marks = _native.drain_marks()
        return Batch(time.monotonic_ns(), marks=[marks] if marks else [])

    def _give_up(self) -> None:
        """The workload goes on as if it were not measured."""
        _native.stop_marks()
        if self.run.folder.is_dir():
            say(f"stages can't be written to {self.run.folder} any more and are left out")


def _end(made: Store, end_ns: int) -> None:
    made.finish(end_ns, None, None)
    made.close()


_log: StageLog | None = None
_log_lock = threading.Lock()


def enter() -> StageLog | None:
    """Begin to log this process' stages if a run surrounds it; called at its first mark."""
    global _log
    run = surrounding()
    if run is None:
        return None
    with _log_lock:
        if _log is None:
            forks.call_in_child(_forget)
            _log = StageLog(run)
            _log.start()
        return _log


def _forget() -> None:
    """In the child of a fork: its stages get a file of their own, at their first mark."""
    global _log, _log_lock
    _log_lock = threading.Lock()
    if _log is not None:
        forks.leak(_log)
        _log = None
    _native.reset_marks()


def recording_so_far(log: StageLog, now_ns: int) -> Recording:
    """The run's channels with this process' stages, after at most one commit past ``now_ns``."""
    node = _node_past(log.run.folder, now_ns)
    own = log.recording()
    return node if own is None else join(node, [own])


def _node_past(folder: Path, now_ns: int) -> Recording:
    until = time.monotonic() + _NODE_PATIENCE_S
    while True:
        try:
            node = load_file(folder / NODE_FILE)
        except RecordingError as error:
            raise RecordingError(f"the run around this process can't be read: {error}") from None
        sampled = any(channel.quality != "unmeasured" for channel in node.channels)
        settled = node.last_read_ns >= now_ns or not sampled
        if settled or not node.live or time.monotonic() > until:
            return node
        time.sleep(PERIOD_S / 5)


# -- one file of the folder ------------------------------------------------------------------------


def out_of(folder: Path) -> Path:
    """``RUN.pyprof`` of ``RUN.pyprof.d``."""
    return folder.with_name(folder.name.removesuffix(FOLDER_SUFFIX))


def fold(
    folder: Path, out: Path, *, overwrite: bool = False, stages_in: Path | None = None
) -> Path:
    """Make the one ``RUN.pyprof`` of a run's folder, then remove the folder.

    ``stages_in``: another folder with stages of the same run.
    """
    node = folder / NODE_FILE
    if container.is_being_written(node):
        raise UsageError(f"{folder} is still being recorded: fold it when the run has ended")
    joined = load_folder(folder)
    if stages_in is not None:
        joined = join_folder(joined, stages_in)
    try:
        guard = container.create(
            out, lambda target: _copy(node, joined, target), overwrite=overwrite
        )
        os.close(guard)
    except (OSError, sqlite3.Error) as error:
        raise RecordingError(
            f"{out} can't be written ({error}); the recording stays in {folder}"
        ) from None
    remove(folder)
    if stages_in is not None:
        remove(stages_in)
    return out


def fold_remains(named: Path) -> Path | None:
    """Fold what a dead run left, where ``named`` is the recording or its folder; else None.

    Only what surely nobody writes to any more is folded, and only where that can be written.
    """
    name = named.name.removesuffix(FOLDER_SUFFIX)
    if not name:
        return None
    out = named.with_name(name)
    folder = folder_of(out)
    if not (folder / NODE_FILE).is_file() or os.path.lexists(out):
        return None
    files = (folder / NODE_FILE, *folder.glob(f"{STAGES_PREFIX}*.pyprof"))
    if not (all(map(_is_left_alone, files)) and _may_change(folder)):
        return None
    return fold(folder, out)


def _is_left_alone(file: Path) -> bool:
    """Whether the guard can be taken. Where there are no locks that is never sure."""
    if container.is_being_written(file):
        return False
    try:
        probe = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(probe)


def _may_change(folder: Path) -> bool:
    """Whether files in the folder and beside it may be made and removed."""
    return all(os.access(each, os.W_OK | os.X_OK) for each in (folder, folder.parent))


def _copy(node: Path, joined: Recording, target: sqlite3.Connection) -> None:
    """The sampler's file as it is, with the other processes and their marks after its own."""
    with opened(node) as source:
        older = source.execute("PRAGMA user_version").fetchone()[0] < VERSION
        source.execute("ROLLBACK")  # the copy reads in a transaction of its own
        if not older:
            source.backup(target)
    if older:
        fill(target, joined)
        return
    sampler = joined.process.id
    with container.transaction(target):
        others = [p for p in joined.processes if p.id != sampler]
        container.insert(target, "process", [process_row(process) for process in others])
        target.execute("DELETE FROM mark")
        tally = Tally(events=len(joined.incidents))
        for process, data in joined.marks:
            seq = tally.marks.get(process, 0)
            tally.add_marks(process, seq)
            container.insert(target, "mark", [mark_row(process, seq, None, data)])
        target.execute("DELETE FROM event")
        insert_incidents(target, joined.incidents)
        kept = Tally.parse(joined.meta.get(KEY, ""))
        if kept is not None:
            tally = replace(kept, marks=tally.marks, events=tally.events)
            tally.rows["process"] = len(joined.processes)
            container.insert(target, "meta", [sealed(KEY, tally.to_text())])
        insert_identity(target, joined.end_ns)


def remove(folder: Path) -> None:
    """Remove the files of a run and its folder; anything else in it stays."""
    names = [NODE_FILE, *(file.name for file in folder.glob(f"{STAGES_PREFIX}*"))]
    for name in names:
        for side in ("", "-journal"):
            with contextlib.suppress(OSError):
                os.unlink(folder / f"{name}{side}")
    with contextlib.suppress(OSError):
        folder.rmdir()


def make(folder: Path, *, overwrite: bool = False) -> None:
    """An empty folder that only its owner can enter."""
    if os.path.lexists(folder) and stat.S_ISDIR(os.lstat(folder).st_mode):
        if container.is_being_written(folder / NODE_FILE):
            raise UsageError(f"{folder} is being recorded right now: give another name")
        if not overwrite:
            raise UsageError(
                f"{folder} is left of a run that was cut short: `pyprof report` reads it; "
                "give another name, or overwrite it on purpose"
            )
        remove(folder)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        return
    if not (folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())):
        raise UsageError(f"{folder} exists: give another name")
