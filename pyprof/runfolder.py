"""The folder of a run of many processes: each writes its own file, a report joins them by time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pyprof import container, host, hostlock, privacy
from pyprof.copying import fill
from pyprof.errors import RecordingError, UsageError
from pyprof.joining import NODE_PREFIX, join_folder, load_folder, node_files
from pyprof.layout import (
    AGENT_KEY,
    SAMPLER,
    STAGES,
    VERSION,
    Process,
    mark_row,
    process_row,
    sealed,
)
from pyprof.loading import FOLDER_SUFFIX, NODE_FILE, STAGES_PREFIX, opened
from pyprof.recording import Recording
from pyprof.store import insert_identity, insert_incidents
from pyprof.tally import KEY, Tally

VARIABLE = "PYPROF_RUN"
PHASE_VARIABLE = "PYPROF_RUN_PHASE"
SYNC_VARIABLE = "PYPROF_RUN_SYNC"
_MOST_REWRITTEN_BYTES = 256 << 20
_PHASES = ("development", "training", "deployment")
#: Ranks of one run follow each other within this.
_CHANGE_OF_HANDS_S = 30.0


@dataclass(frozen=True, slots=True)
class Surrounding:
    """The run that this process is part of."""

    folder: Path
    phase: str


def environment(folder: Path, phase: str) -> dict[str, str]:
    """What the processes of a run find in their environment."""
    salt = privacy.salt()
    named = {} if salt is None else {privacy.VARIABLE: salt}
    return {VARIABLE: str(folder), PHASE_VARIABLE: phase, **named}


def sync_of_run() -> bool | None:
    """``sync`` of the stages that say nothing themselves: True under ``pyprof run --sync``."""
    return True if os.environ.get(SYNC_VARIABLE) == "1" and surrounding() is not None else None


def folder_of(out: Path) -> Path:
    """``RUN.pyprof.d`` of ``RUN.pyprof``."""
    return out.with_name(out.name + FOLDER_SUFFIX)


def has_head(folder: Path) -> bool:
    """Whether a ``pyprof run`` has begun the run and samples for it."""
    return (folder / NODE_FILE).exists()


_known: Surrounding | None = None
_looked = False


def surrounding() -> Surrounding | None:
    """The run around this process, or None; the environment is looked at once."""
    global _known, _looked
    if not _looked:
        _known, _looked = _look(os.environ), True
    return _known


def settle(run: Surrounding) -> Surrounding:
    """This process is part of ``run``, unless it is part of another one already."""
    global _known, _looked
    _known, _looked = surrounding() or run, True
    return _known


def _look(variables: Mapping[str, str]) -> Surrounding | None:
    folder = variables.get(VARIABLE, "")
    if not os.path.isabs(folder):
        return None
    phase = variables.get(PHASE_VARIABLE, "")
    return Surrounding(Path(folder), phase if phase in _PHASES else "training")


def new_process(role: str, phase: str, command: str | None, argv: str | None = None) -> Process:
    """This process as a recording names it."""
    names = privacy.active()
    found = this_process(role, phase, command, argv)
    return found if names is None else names.process(found)


def this_process(role: str, phase: str, command: str | None, argv: str | None = None) -> Process:
    """The same by its true names."""
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
    nodes = node_files(folder)
    if any(map(container.is_being_written, nodes)):
        raise UsageError(f"{folder} is still being recorded: fold it when the run has ended")
    joined = load_folder(folder)
    if stages_in is not None:
        joined = join_folder(joined, stages_in)

    def fill_in(target: sqlite3.Connection) -> None:
        if len(nodes) == 1:
            _copy(nodes[0], joined, target)
        else:
            fill(target, joined)

    try:
        os.close(container.create(out, fill_in, overwrite=overwrite))
    except (OSError, sqlite3.Error) as error:
        raise RecordingError(
            f"{out} can't be written ({error}); the recording stays in {folder}"
        ) from None
    remove(folder)
    if stages_in is not None:
        remove(stages_in)
    return out


def complete(recording: Recording) -> Recording | None:
    """A recording with what its agent has published since; None where that is nothing."""
    if AGENT_KEY not in recording.meta:
        return None
    from pyprof.segments import complete as completed

    return completed(recording, this_process(STAGES, "training", None))


def keep(recording: Recording, named: Path) -> bool:
    """Write a completed recording in the place of its file; False where that can't be changed."""
    if named.is_symlink() or not named.is_file() or named.stat().st_size > _MOST_REWRITTEN_BYTES:
        return False
    if not (os.access(named, os.W_OK) and _may_change(named.parent)):
        return False
    try:
        os.close(container.create(named, lambda new: fill(new, recording), overwrite=True))
    except (OSError, sqlite3.Error) as error:
        raise RecordingError(f"{named} can't be written ({error})") from None
    return True


def fold_remains(named: Path) -> Path | None:
    """Fold what a dead run left, where ``named`` is the recording or its folder; else None.

    Only what surely nobody writes to any more is folded, and only where that can be written.
    """
    name = named.name.removesuffix(FOLDER_SUFFIX)
    if not name:
        return None
    out = named.with_name(name)
    folder = folder_of(out)
    nodes = node_files(folder)
    if not nodes or os.path.lexists(out):
        return None
    files = (*nodes, *folder.glob(f"{STAGES_PREFIX}*.pyprof"))
    if not (all(map(_is_left_alone, files)) and _may_change(folder, folder.parent)):
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


def _may_change(*folders: Path) -> bool:
    """Whether files in the folders may be made and removed."""
    return all(os.access(each, os.W_OK | os.X_OK) for each in folders)


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
    parts = (*folder.glob(f"{NODE_PREFIX}*"), *folder.glob(f"{STAGES_PREFIX}*"))
    names = [NODE_FILE, *(file.name for file in parts)]
    for name in names:
        for side in ("", "-journal"):
            with contextlib.suppress(OSError):
                os.unlink(folder / f"{name}{side}")
    hostlock.remove_all(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()


def make(folder: Path, *, overwrite: bool = False) -> None:
    """An empty folder that only its owner can enter."""
    if os.path.lexists(folder) and stat.S_ISDIR(os.lstat(folder).st_mode):
        if any(map(container.is_being_written, node_files(folder))):
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


def share(folder: Path) -> None:
    """The folder of a run that has no process of its own; the first that comes makes it.

    What an earlier run has left is no part of this one.
    """
    out = out_of(folder)
    if os.path.lexists(out):
        raise UsageError(f"{out} exists: give another name than {folder.name}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} can't be the folder of a run: {error.strerror}") from None
    if folder.is_symlink() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} can't be the folder of a run: it can't be written")
    if _is_over(folder):
        raise UsageError(
            f"{folder} is left of an earlier run: `pyprof report` makes one file of it; "
            "give another name"
        )


def _is_over(folder: Path) -> bool:
    """Whether a run was recorded in it, in which nobody has taken part for some time."""
    files = (*node_files(folder), *folder.glob(f"{STAGES_PREFIX}*.pyprof"))
    if not files or any(map(container.is_being_written, files)):
        return False
    last_s = 0.0
    for file in files:
        with contextlib.suppress(OSError):  # folded at this moment
            last_s = max(last_s, file.stat().st_mtime)
    return time.time() - last_s > _CHANGE_OF_HANDS_S
