"""The one thread that writes a recording: soon after its beginning, then twice a second."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

from pyprof.errors import PyprofError
from pyprof.host import NS_PER_S
from pyprof.notice import say
from pyprof.store import Batch, Store

#: Between two commits. A young recording is committed whenever it has doubled its age, from the
#: first of these on, so that a kill never takes more than half of what was measured.
PERIOD_S = 0.5
_FIRST_PERIOD_S = 0.05
#: Samples that a locked file keeps waiting; beyond it they stay with the sampler, which thins.
_MOST_PENDING_BYTES = 16 << 20
_DISK_PATIENCE_S = 2.0
_SAY_BUSY_NS = 2 * NS_PER_S
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}

Job = Callable[[Store], None]


class Writer:
    """Collects, commits, and runs jobs on the store, all on one daemon thread.

    Every write happens on this thread, where SIGXFSZ is blocked: a file size limit is then an
    error like any other and never the end of the workload.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        collect: Callable[[], Batch],
        *,
        lazily: bool = False,
    ) -> None:
        """``lazily``: the store is opened when there is something to write."""
        self._open_store = open_store
        self._collect = collect
        self._lazily = lazily
        self._store: Store | None = None
        self._failure: BaseException | None = None
        self._opened = threading.Event()
        self._unawaited = False
        self._turn = threading.Condition()
        self._jobs: list[tuple[Job, threading.Event]] = []
        self._ending = False
        self._waiting = Batch(0)
        self._busy_since_ns: int | None = None
        self._complained = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="pyprof-writer", daemon=True)

    @property
    def store(self) -> Store | None:
        """The store once it is open."""
        return self._store

    @property
    def running(self) -> bool:
        """Whether the thread is at work in this process."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread and, unless lazily, wait for the store; raises what opening raised.

        A disk that is slow to answer is not waited for: readings then stay in memory until it does.
        """
        self._thread.start()
        if self._lazily:
            return
        if not self._opened.wait(_DISK_PATIENCE_S):
            self._unawaited = True
            return
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def do(self, job: Job, timeout_s: float = 10.0) -> bool:
        """Commit what there is, then run ``job``; False if that did not happen in time."""
        if not self.running:
            return False
        done = threading.Event()
        with self._turn:
            self._jobs.append((job, done))
            self._turn.notify()
        return done.wait(timeout_s)

    def post(self, job: Job) -> None:
        """The same without waiting."""
        with self._turn:
            self._jobs.append((job, threading.Event()))
            self._turn.notify()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Commit what there is now; False if that did not happen in time."""
        return self.do(lambda _: None, timeout_s)

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Commit, run what is left to do, end the thread; a hanging disk is left behind."""
        if not self.running:
            return False
        with self._turn:
            self._ending = True
            self._turn.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # -- on the thread

    def _run(self) -> None:
        shelter()
        if not self._lazily and not self._open():
            if self._unawaited:
                self._complain(str(self._failure))
            return
        begun_s = time.monotonic()
        ending = False
        while not ending:
            now_s = time.monotonic()
            pause_s = min(max(now_s - begun_s, _FIRST_PERIOD_S), PERIOD_S)
            jobs, ending = self._await_turn(now_s + pause_s)
            with self._no_escape():
                self._tick()
            for job, done in jobs:
                with self._no_escape():
                    if self._store is not None:
                        job(self._store)
                done.set()

    def _await_turn(self, until_s: float) -> tuple[list[tuple[Job, threading.Event]], bool]:
        with self._turn:
            if not self._jobs and not self._ending:
                self._turn.wait(max(until_s - time.monotonic(), 0.0))
            jobs, self._jobs = self._jobs, []
            return jobs, self._ending

    def _open(self) -> bool:
        try:
            self._store = self._open_store()
        except BaseException as error:  # handed over to the thread that waits in start()
            self._failure = error
        self._opened.set()
        return self._store is not None

    def _tick(self) -> None:
        if len(self._waiting.frames) < _MOST_PENDING_BYTES:
            self._waiting.merge(self._collect())
        if not self._waiting:
            return
        if self._store is None and not self._open():
            self._waiting = Batch(0)
            if not isinstance(self._failure, PyprofError):
                self._complain(str(self._failure))
            return
        assert self._store is not None
        if self._store.commit(self._waiting):
            self._waiting, self._busy_since_ns = Batch(0), None
        else:
            self._note_busy()

    def _note_busy(self) -> None:
        now_ns = time.monotonic_ns()
        if self._busy_since_ns is None:
            self._busy_since_ns = now_ns
        elif now_ns - self._busy_since_ns > _SAY_BUSY_NS:
            self._complain("another program holds the recording locked: samples wait in memory")

    def _complain(self, sentence: str) -> None:
        if not self._complained:
            self._complained = True
            say(sentence)

    @contextlib.contextmanager
    def _no_escape(self) -> Iterator[None]:
        """Whatever goes wrong in here costs a line on stderr, never the thread."""
        try:
            yield
        except Exception as error:
            self._complain(f"the recording is incomplete ({error})")


def shelter() -> None:
    """Leave every signal to the workload's threads; only real faults stay."""
    with contextlib.suppress(ValueError, OSError):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
