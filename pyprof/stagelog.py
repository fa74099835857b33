"""The stages of one process of a run, in a file of its own in the run's folder."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING

import pyprof
from pyprof import _native, forks, host, leaving, sync
from pyprof.errors import PyprofError, RecordingError
from pyprof.joining import GPUS_KEY, join, load_nodes
from pyprof.layout import STAGES
from pyprof.lead import Lead
from pyprof.loading import STAGES_PREFIX
from pyprof.notice import say
from pyprof.reading import read
from pyprof.recording import Recording
from pyprof.runfolder import Surrounding, has_head, new_process, surrounding, sync_of_run
from pyprof.store import Batch, Head, Store
from pyprof.writer import PERIOD_S, Writer

if TYPE_CHECKING:
    from pyprof.hardware import Look
    from pyprof.hostlock import HostLock
    from pyprof.sampling import Sampling
    from pyprof.session import Session

_NODE_PATIENCE_S = 4 * PERIOD_S + 1.0


class StageLog:
    """This process' stages in a file of its own, made when there is something to write."""

    def __init__(self, run: Surrounding) -> None:
        """Nothing is opened yet."""
        self.run = run
        name = f"{STAGES_PREFIX}{os.getpid()}-{time.monotonic_ns()}.pyprof"
        self.path = run.folder / name
        self._process = new_process(STAGES, run.phase, host.program_name())
        self._writer = Writer(self._open, self._collect, lazily=True)
        self._lock = threading.Lock()
        self._users = 0
        # Under `pyprof run` every process of the run is there if that one dies.
        self._lead = Lead(run.folder, self._session) if has_head(run.folder) else None

    def start(self) -> None:
        """Log marks from now on."""
        _native.set_sync(sync_of_run())
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
        with self._lock:
            lead, self._lead, self._users = self._lead, None, 0
        if lead is not None:
            lead.end()

    # -- sampling for the run

    @property
    def may_sample(self) -> bool:
        """Whether this process samples, or would take over."""
        return self._lead is not None

    def sample(self, look: Look, sampling: Sampling) -> None:
        """Take part in sampling until ``rest``: read now what no other process of the run reads.

        Under ``pyprof run``, which reads everything, there is nothing to do.
        """
        if has_head(self.run.folder) or not self.run.folder.is_dir():
            return
        with self._lock:
            self._users += 1
            if self._users == 1:
                lead = Lead(self.run.folder, self._session)
                lead.begin(look, sampling)
                self._lead = lead

    def rest(self) -> None:
        """The last one that samples here gives its devices to other processes."""
        with self._lock:
            if self._users == 0:
                return
            self._users -= 1
            if self._users > 0:
                return
            lead, self._lead = self._lead, None
        if lead is not None:
            lead.end()

    def _session(self, look: Look, sampling: Sampling, lock: HostLock) -> Session:
        from pyprof.session import Session

        return Session(
            look,
            out=None,
            phase=self.run.phase,
            sampling=sampling,
            inside=(self.run.folder, lock),
        )

    # -- what was recorded

    def recording(self) -> Recording | None:
        """What this process has marked up to now; None if that is nothing."""
        self._writer.flush()
        made = self._writer.store
        if made is None:
            return None
        with made.lock:
            return read(made.connection, str(self.path), made.session, live=True)

    def _open(self) -> Store:
        meta = {"pyprof_version": pyprof.__version__}
        if gpus := host.gpu_uuids():
            meta[GPUS_KEY] = json.dumps(gpus)
        head = Head(meta, self._process)
        if not self.run.folder.is_dir():
            self._give_up()
            raise PyprofError(f"the folder of the run, {self.run.folder}, is gone")
        made = Store(self.path, head, on_lost=self._give_up)
        if made.path is None:
            self._give_up()
        return made

    def _collect(self) -> Batch:
        lead = self._lead
        if lead is not None:
            lead.watch()
        marks, now_ns = _native.drain_marks(), time.monotonic_ns()
        notes = sync.take_notes(now_ns)
        return Batch(now_ns, marks=[marks] if marks else [], incidents=notes)

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
    node = _node_past(log, now_ns)
    own = log.recording()
    return node if own is None else join(node, [own])


def _node_past(log: StageLog, now_ns: int) -> Recording:
    """What was sampled up to now, by whoever does so; a change of hands is waited for."""
    until = time.monotonic() + _NODE_PATIENCE_S
    while True:
        try:
            node = load_nodes(log.run.folder)
        except RecordingError as error:
            raise RecordingError(f"the run around this process can't be read: {error}") from None
        sampled = any(channel.quality != "unmeasured" for channel in node.channels)
        read_ns = node.last_read_ns - node.process.offset_ns + host.monotonic_offset_ns()
        ended = not node.live and not log.may_sample
        if read_ns >= now_ns or not sampled or ended or time.monotonic() > until:
            return node
        time.sleep(PERIOD_S / 5)
