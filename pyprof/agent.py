"""The system service that reads sensors for those who may not: closed files, and nothing to ask."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyprof
from pyprof import _native, host
from pyprof.errors import PyprofError, UsageError
from pyprof.hardware import Look, Machine, open_machine
from pyprof.host import NS_PER_S
from pyprof.layout import SAMPLER, Incident
from pyprof.notice import say
from pyprof.runfolder import new_process
from pyprof.sampling import Sampling
from pyprof.segments import SEGMENT_S, Published, name_of
from pyprof.store import Batch, Head, Store

#: What ordinary users may see of a processor by default: PLATYPUS, CVE-2020-8694.
STEP_S = 1.0
QUANTUM_J = 1.0
KEEP_S = 3600.0
_DRAIN_S = 0.5
_PAGE_BYTES = 1024
_GUARD = ".agent.lock"
_DRAFT = ".segment.tmp"
_EXACT = (0, 0.0)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is given away, to whom and for how long."""

    folder: Path
    group: int | None = None
    step_s: float = STEP_S
    quantum_j: float = QUANTUM_J
    coarse_gpus: bool = False
    keep_s: float = KEEP_S
    segment_s: float = SEGMENT_S

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        if not 1 <= self.segment_s <= SEGMENT_S:
            raise UsageError(f"segments are of 1 to {SEGMENT_S} s, not {self.segment_s:g}")
        if not 0 <= self.step_s <= self.segment_s:
            raise UsageError("the step must be between 0 s and the length of a segment")
        if self.step_s > 0 and not self.quantum_j > 0:
            raise UsageError(f"the quantum must be more than 0 J, not {self.quantum_j:g}")
        if self.keep_s < 2 * self.segment_s:
            raise UsageError("a segment must be kept for at least twice its length")

    def grain(self, channel: _native.Channel) -> tuple[int, float]:
        """How coarse a channel is made: step in ns and quantum in J."""
        fine = channel.domain == "gpu" and not self.coarse_gpus
        return (
            _EXACT if fine or self.step_s == 0 else (round(self.step_s * NS_PER_S), self.quantum_j)
        )


class Agent:
    """Samples this machine and publishes a file every few seconds, until it is told to end."""

    def __init__(self, look: Look, terms: Terms, sampling: Sampling) -> None:
        """Opens the hardware and the folder; raises what a user can mend."""
        # A model is made from what everybody may read: users have it without a service.
        self.machine = self._machine = open_machine(replace(look, model=False, agent=None))
        if self._machine.native is None:
            raise PyprofError(
                "there is nothing to publish, as no sensor can be read: 'pyprof doctor' says why"
            )
        self._terms = terms
        grains = [terms.grain(channel) for channel in self._machine.channels]
        self._channels = [
            _native.coarse_channel(channel, *grain)
            for channel, grain in zip(self._machine.channels, grains, strict=True)
        ]
        self._coarse = _native.Coarse(self._machine.channels, grains)
        self._sampler = sampling.sampler(self._machine.native)
        self._run_id = os.urandom(16).hex()
        self._guard = _claim(terms.folder, terms.group)

    def run(self) -> None:
        """Until SIGTERM or SIGINT; what is read by then is published as well."""
        wanted = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
        self._sampler.start()
        try:
            while not self._segment(wanted):
                self._forget_old()
        finally:
            self._sampler.stop(0)
            os.close(self._guard)

    def _segment(self, wanted: set[signal.Signals]) -> bool:
        """One file; says whether the end was asked for."""
        head = self._head()
        start_ns = head.process.mono_ns
        length_ns = round(self._terms.segment_s * NS_PER_S)
        until_ns = (start_ns // length_ns + 1) * length_ns
        store = Store(None, head)
        try:
            store.begin(start_ns)
            asked = False
            while not asked and (left_ns := until_ns - time.monotonic_ns()) > 0:
                asked = signal.sigtimedwait(wanted, min(_DRAIN_S, left_ns / NS_PER_S)) is not None
                store.commit(self._collect())
            end_ns = time.monotonic_ns()
            store.finish(end_ns, None, None)
            self._publish(store, start_ns, end_ns)
        finally:
            store.close()
        return asked

    def _collect(self) -> Batch:
        frames = self._coarse.add(b"".join(self._sampler.drain()))
        incidents = [Incident(*event) for event in self._sampler.events()]
        return Batch(time.monotonic_ns(), frames=frames, incidents=incidents)

    def _head(self) -> Head:
        rows = self._machine.unmeasured
        return Head(
            meta={
                "run_id": self._run_id,
                "pyprof_version": pyprof.__version__,
                "scope": self._machine.scope,
            },
            process=new_process(SAMPLER, "training", "pyprof agent"),
            sources=self._machine.sources,
            channels=(*self._channels, *rows),
            sampled=len(self._channels),
        )

    def _publish(self, store: Store, start_ns: int, end_ns: int) -> None:
        """All of it in one rename: nobody sees a part, and nobody can hold it up."""
        folder, offset_ns = self._terms.folder, host.monotonic_offset_ns()
        draft = folder / _DRAFT
        try:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
            with store.lock:
                _copy_small(store.connection, draft)
            if self._terms.group is not None:
                os.chown(draft, -1, self._terms.group)
            os.chmod(draft, 0o440)
            os.rename(draft, folder / name_of(start_ns - offset_ns, end_ns - offset_ns))
        except (OSError, sqlite3.Error) as error:
            say(f"a segment could not be published in {folder} ({error})")

    def _forget_old(self) -> None:
        oldest_ns = time.monotonic_ns() - host.monotonic_offset_ns()
        oldest_ns -= round(self._terms.keep_s * NS_PER_S)
        for segment in Published(self._terms.folder).segments():
            if segment.end_ns < oldest_ns:
                with contextlib.suppress(OSError):
                    segment.path.unlink()


def describe(machine: Machine, terms: Terms) -> Iterator[str]:
    """What will be given away, in sentences for the service's journal."""
    for channel in machine.channels:
        step_ns, quantum_j = terms.grain(channel)
        grain = (
            f"in steps of {step_ns / NS_PER_S:g} s and {quantum_j:g} J" if step_ns else "as read"
        )
        yield f"{channel.id}: {grain}"


def _claim(folder: Path, group: int | None) -> int:
    """The folder for one agent alone; what a dead one has left half done goes away."""
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o750)
            if group is not None:
                os.chown(folder, -1, group)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        guard = os.open(folder / _GUARD, flags, 0o600)
    except OSError as error:
        raise UsageError(f"{folder} can't be published in: {error.strerror}") from None
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(guard)
        raise UsageError(f"another agent publishes in {folder}: stop it first") from None
    return guard


def _copy_small(source: sqlite3.Connection, target: Path) -> None:
    """A closed copy in small pages: a segment holds little, and an hour of them lies in memory."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    source.execute("ATTACH DATABASE ? AS small", (str(target),))
    try:
        marks = {
            name: source.execute(f"PRAGMA main.{name}").fetchone()[0]
            for name in ("application_id", "user_version")
        }
        source.execute(f"PRAGMA small.page_size={_PAGE_BYTES}")
        source.execute("PRAGMA small.journal_mode=OFF").fetchall()
        source.execute("PRAGMA small.synchronous=OFF")
        for name, value in marks.items():
            source.execute(f"PRAGMA small.{name}={value}")
        source.execute("BEGIN")
        for name, sql in _schema(source):
            source.execute(sql.replace("CREATE TABLE ", "CREATE TABLE small.", 1))
            source.execute(f"INSERT INTO small.{name} SELECT * FROM main.{name}")
        source.execute("COMMIT")
    finally:
        if source.in_transaction:
            source.execute("ROLLBACK")
        source.execute("DETACH DATABASE small")


def _schema(source: sqlite3.Connection) -> Sequence[tuple[str, str]]:
    found = source.execute(
        "SELECT name, sql FROM main.sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"
    )
    return found.fetchall()
