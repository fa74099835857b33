"""The one thing that measures: hardware, sampler, writer and this process' marks."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyprof
from pyprof import _native, conditions, container, forks, host, leaving, privacy, runfolder, sync
from pyprof.baseline import Chosen, Place, choose
from pyprof.check import watch_beside
from pyprof.errors import PyprofError, SamplerError, UsageError
from pyprof.host import NS_PER_S
from pyprof.hostlock import HostLock
from pyprof.joining import ANCHORS_KEY, NODE_PREFIX, join_folder, load_folder
from pyprof.layout import AGENT_KEY, SAMPLER, Incident
from pyprof.loading import NODE_FILE, load_file
from pyprof.notice import say
from pyprof.reading import read
from pyprof.recording import Recording
from pyprof.sampling import Sampling
from pyprof.store import Batch, Head, Store
from pyprof.usage import Party, watch
from pyprof.writer import Writer

if TYPE_CHECKING:
    from pyprof.energy import EnergyReport
    from pyprof.hardware import Look, Machine
    from pyprof.segments import Feed

_STATS_EVERY_NS = 5 * NS_PER_S
_SUSPEND_NS = NS_PER_S // 20
#: The wall clock was set if it moves by more than this against the monotonic one.
_STEP_NS = NS_PER_S // 500
_MOST_ANCHORS = 50


class Session:
    """Measures from ``start`` to ``stop``. What it recorded is readable during and after."""

    def __init__(
        self,
        look: Look,
        *,
        out: Path | None,
        phase: str = "training",
        sampling: Sampling | None = None,
        command: str | None = None,
        folder: bool = False,
        overwrite: bool = False,
        argv: Sequence[str] | None = None,
        kept: str | None = None,
        inside: tuple[Path, HostLock] | None = None,
        baseline: str | None = None,
        party: Party | None = None,
        fallback_dir: Path | None = None,
        keep_raw_s: float | None = None,
        redact: bool = False,
    ) -> None:
        """``folder``: the run of a command; stages come from its processes, not from this one.

        ``inside``: the same in the folder of a run that others have begun, for the devices that the
        lock gives to this process; where there are none, nothing is sampled or written.
        ``kept`` is the scenario that the recording keeps (``pyprof.carbon.keep_text``).
        ``baseline`` names the machine's baseline (:func:`pyprof.baseline.choose`); ``party`` says
        whose share in its devices is wanted.
        ``fallback_dir``: where the recording goes on if its own place fails. ``keep_raw_s``:
        older readings are given up for their roll-ups. ``redact``: what is written names nobody.
        """
        #: What it writes with; None: as things are.
        self.names = privacy.active() or (privacy.fresh() if redact else None)
        self._fallback_dir = None if fallback_dir is None else Path(os.path.abspath(fallback_dir))
        self._keep_raw_ns = keep_raw_ns(keep_raw_s)
        self._look = look
        self._sampling = sampling or Sampling()
        self.out = None if out is None else Path(os.path.abspath(out))
        self.phase = phase
        self._command = command if command is not None else host.program_name()
        self._argv = None if argv is None else json.dumps(list(argv))
        self._kept = kept
        self._baseline_name = baseline
        self._baseline = Chosen(None)
        self._party = party
        self._overwrite = overwrite
        self.folder: Path | None = None
        self._host_lock: HostLock | None = None
        self._is_guest = inside is not None
        if inside is not None:
            self.folder, self._host_lock = inside
        self._wants_folder = folder or self._is_guest
        self._scratch: Path | None = None
        self._machine: Machine | None = None
        self._sampler: _native.Sampler | None = None
        self._feed: Feed | None = None
        self._writer: Writer | None = None
        self._final: Recording | None = None
        self._written: Path | None = None
        self._lock = threading.RLock()
        self._forget_exit: Callable[[], None] = lambda: None
        self._pid = os.getpid()
        self._stats_ns = 0
        self._asleep_ns = 0
        self._since_ns = 0
        self._anchors: list[tuple[int, int, int]] = []
        self.start_ns = 0
        self.end_ns: int | None = None

    # -- life

    @property
    def mine(self) -> bool:
        """False in the child of a fork: the session is its parent's."""
        return self._pid == os.getpid()

    @property
    def running(self) -> bool:
        """Whether it measures, here and now."""
        return self.mine and self._writer is not None and self.end_ns is None

    def start(self) -> None:
        """Look for hardware, open the recording, read once, and count from then on."""
        from pyprof.hardware import open_machine
        from pyprof.lead import claim, note_of

        if self.running:
            return
        self._check_output()
        if self._look.simulate is not None and self._look.begin_ns == 0:
            # Whoever takes over goes on with the same signals.
            self._look = replace(self._look, begin_ns=time.monotonic_ns())
        machine = open_machine(self._look)
        self._baseline = self._choose_baseline(machine)
        self._make_folder()
        if self._host_lock is not None:
            machine = claim(machine, self._host_lock, note_of(self._look, self._sampling))
            if self._is_guest and not (machine.channels or machine.borrowed or machine.unmeasured):
                self._host_lock.release()
                return
        self._machine = machine = self._watched(watch_beside(machine))
        if machine.native is not None and machine.channels:
            self._sampler = self._sampling.sampler(machine.native)
        self._feed = _feed(machine)
        self._writer = Writer(self._open_store, self._collect)
        forks.call_in_child(_forget_marks)
        try:
            self._writer.start()
            if self._sampler is not None:
                self._sampler.start()
        except BaseException:
            self._end_early()
            raise
        clocks = host.anchor()
        self._asleep_ns, self._since_ns = clocks.asleep_ns, clocks.since_ns
        self.start_ns = start_ns = time.monotonic_ns()
        if not self._wants_folder:
            _native.start_marks(self.phase)
        self._writer.post(lambda made: made.begin(start_ns))
        _running.add(self)
        forks.call_in_child(_leak_sessions)
        self._forget_exit = leaving.at_exit(self.stop)

    def stop(self, exit_status: int | None = None, signal: int | None = None) -> None:
        """The end counts from the call; then one more update of each counter is waited for."""
        with self._lock:
            if not self.running:
                return
            assert self._writer is not None
            self.end_ns = end_ns = time.monotonic_ns()
            if not self._wants_folder:
                _native.stop_marks()
            if self._sampler is not None:
                self._sampler.stop()
            self._stats_ns = 0
            self._writer.post(lambda made: self._finish(made, end_ns, exit_status, signal))
            if not self._writer.stop():
                say("the recording's disk does not answer: its end may be missing")
            _running.discard(self)
            self._sampler = self._machine = None  # their buffers and libraries go with them
            self._release_devices()
            self._forget_exit()

    def _release_devices(self) -> None:
        """Whoever waits takes over, unless the run itself has ended."""
        if self._host_lock is not None:
            self._host_lock.release(over=not self._is_guest)

    def flush(self) -> None:
        """Commit what has been read and marked up to now."""
        if self.running and self._writer is not None:
            self._writer.flush()

    def fold(self) -> Path | None:
        """After ``stop``: make the one file of a run's folder; None if that can't be done.

        Where it can't, the recording stays readable here, and its folder stays where it is.
        """
        if self.folder is None or self.end_ns is None or self.out is None:
            return self._written
        try:
            if self._scratch is None and self._written is not None:
                self._written = self._fold_written(self._written)
                return self._written
            self._rescue()
        except PyprofError as error:
            say(str(error))
        return None

    def _fold_written(self, node: Path) -> Path:
        assert self.folder is not None
        assert self.out is not None
        if node.parent == self.folder:
            return runfolder.fold(self.folder, self.out, overwrite=self._overwrite)
        # The sampler's file went on in another place; the stages are where they were.
        out = runfolder.out_of(node.parent)
        return runfolder.fold(node.parent, out, stages_in=self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """What the run's processes need to find its folder; empty without one."""
        return {} if self.folder is None else runfolder.environment(self.folder, self.phase)

    # -- what was recorded

    @property
    def recording(self) -> Recording:
        """What is recorded up to now, while running and after the end."""
        if not self.mine:
            raise UsageError("this process was forked from the one that measures: ask that one")
        if self._writer is None:
            raise UsageError("nothing was measured yet: start first")
        with self._lock:
            made = self._writer.store
            if not self.running or made is None:
                return self._recorded()
            self._writer.flush()
            with made.lock:
                path = None if made.path is None else str(made.path)
                return self._with_stages(read(made.connection, path, made.session, live=True))

    def energy(self) -> EnergyReport:
        """Joules of the whole run."""
        return self.recording.energy()

    def _recorded(self) -> Recording:
        if self._written is not None and self._written.exists():
            if self.folder is not None and self._written == self.folder / NODE_FILE:
                return load_folder(self.folder)
            return load_file(self._written)
        if self._final is None:
            raise SamplerError("the recording could not be read back")
        return self._final

    def _with_stages(self, node: Recording) -> Recording:
        return node if self.folder is None else join_folder(node, self.folder)

    # -- parts of start

    def _check_output(self) -> None:
        if self.out is None:
            return
        container.check_free(self.out, self._overwrite)

    def _watched(self, machine: Machine) -> Machine:
        if self._sampling.conditions:
            machine = conditions.watch(machine)
        return machine if self._party is None else watch(machine, self._look, self._party)

    def _choose_baseline(self, machine: Machine) -> Chosen:
        look = self._look
        place = Place.here(look.sysfs, look.nvml, look.simulate)
        return choose(self._baseline_name, place, machine.channels)

    def _make_folder(self) -> None:
        if not self._wants_folder or self._is_guest:
            return
        self._find_folder()
        assert self.folder is not None
        self._host_lock = HostLock(self.folder)

    def _find_folder(self) -> None:
        if self.out is not None:
            try:
                self.folder = runfolder.folder_of(self.out)
                runfolder.make(self.folder, overwrite=self._overwrite)
                return
            except OSError as error:
                instead = self._other_place()
                rest = "going on without it" if instead is None else f"going on in {instead}"
                say(f"{self.out} can't be written ({error.strerror}): {rest}")
                if instead is not None and self._make_other_folder(instead):
                    return
        self._scratch = self.folder = Path(tempfile.mkdtemp(prefix="pyprof-run-"))

    def _make_other_folder(self, instead: Path) -> bool:
        try:
            instead.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder = runfolder.folder_of(instead)
            runfolder.make(self.folder)
        except (OSError, UsageError) as error:
            say(f"{instead} can't be written either ({error}): going on without it")
            return False
        self.out, self._fallback_dir = instead, None
        return True

    def _other_place(self) -> Path | None:
        """A free name in the folder to fall back on."""
        if self._fallback_dir is None or self.out is None:
            return None
        name = self._fallback_dir / self.out.name
        if os.path.lexists(name) or os.path.lexists(runfolder.folder_of(name)):
            name = name.with_name(f"{name.stem}-{os.getpid()}{name.suffix}")
        return None if name == self.out else name

    def _open_store(self) -> Store:
        node = self._node_name
        other = self._other_place()
        path = self.out
        if self.folder is not None:
            path = self.folder / node
            other = None if other is None else runfolder.folder_of(other) / node
        return Store(
            path,
            self._head(),
            overwrite=self._overwrite and self.folder is None,
            fallback=other,
            keep_raw_ns=self._keep_raw_ns,
        )

    @property
    def _node_name(self) -> str:
        if not self._is_guest:
            return NODE_FILE
        return f"{NODE_PREFIX}{os.getpid()}-{time.monotonic_ns()}.pyprof"

    def _head(self) -> Head:
        assert self._machine is not None
        process = runfolder.this_process(SAMPLER, self.phase, self._command, self._argv)
        meta = {
            "run_id": os.urandom(16).hex(),
            "pyprof_version": pyprof.__version__,
            "scope": self._machine.scope,
            "interval_ns": str(self._sampling.interval_ns),
            "pace": self._sampling.pace,
            **host.facts(),
        }
        if self._kept is not None:
            meta["scenario"] = self._kept
        if self._machine.agent is not None:
            meta[AGENT_KEY] = os.path.abspath(self._machine.agent)
        if self._baseline.baseline is not None:
            meta["baseline"] = self._baseline.baseline.to_json()
        words = [*self._machine.notes, *filter(None, [self._baseline.note])]
        notes = [Incident(process.mono_ns, "note", -1, 1, note) for note in words]
        head = Head(
            meta=meta,
            process=process,
            sources=self._machine.sources,
            channels=(
                *self._machine.channels,
                *self._machine.borrowed,
                *self._machine.unmeasured,
            ),
            sampled=len(self._machine.channels) + len(self._machine.borrowed),
            incidents=notes,
        )
        return head if self.names is None else self.names.head(head)

    def _end_early(self) -> None:
        assert self._writer is not None
        self._writer.post(lambda made: made.close())
        self._writer.stop()
        self._writer = None
        self._release_devices()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    # -- on the writer's thread

    def _collect(self) -> Batch:
        now_ns = time.monotonic_ns()
        batch = Batch(now_ns)
        if not self._wants_folder:
            marks = _native.drain_marks()
            batch.marks = [marks] if marks else []
        if self._sampler is not None:
            batch.frames = b"".join(self._sampler.drain())
            batch.incidents = [Incident(*event) for event in self._sampler.events()]
            if now_ns - self._stats_ns > _STATS_EVERY_NS:
                self._stats_ns = now_ns
                batch.stats = dict(_flat(self._sampler.stats()))
        if self._feed is not None:
            self._borrow(self._feed, batch)
        clocks = host.anchor()
        batch.incidents = [*batch.incidents, *self._suspended(clocks), *sync.take_notes(now_ns)]
        self._keep_anchor(clocks)
        if self.names is not None:
            batch.incidents = self.names.incidents(batch.incidents)
        return batch

    def _borrow(self, feed: Feed, batch: Batch) -> None:
        """What the agent has published; at the end what there is by then, without waiting."""
        own = runfolder.this_process(SAMPLER, self.phase, None)
        frames, incidents = feed.take(own, now=self.end_ns is not None)
        batch.frames += frames
        batch.incidents = [*batch.incidents, *incidents]

    def _suspended(self, clocks: host.Anchor) -> list[Incident]:
        """The boot clock runs on while the machine sleeps, the monotonic one does not."""
        asleep_ns = clocks.asleep_ns
        slept_ns, self._asleep_ns = asleep_ns - self._asleep_ns, asleep_ns
        if slept_ns < _SUSPEND_NS or self.start_ns == 0:
            return []
        text = f"the machine was suspended for {slept_ns / NS_PER_S:.1f} s, which nothing counts"
        return [Incident(clocks.mono_ns, "suspend", -1, 1, text)]

    def _keep_anchor(self, clocks: host.Anchor) -> None:
        """Where the wall clock was set, or the machine slept: later processes know other clocks."""
        store = None if self._writer is None else self._writer.store
        moved_ns = clocks.since_ns - self._since_ns
        if self.start_ns == 0 or store is None or abs(moved_ns) < _STEP_NS:
            return
        self._since_ns = clocks.since_ns
        self._anchors = [*self._anchors, (clocks.mono_ns, clocks.boot_ns, clocks.wall_ns)]
        store.remember(ANCHORS_KEY, json.dumps(self._anchors[-_MOST_ANCHORS:]))

    def _finish(
        self, made: Store, end_ns: int, exit_status: int | None, signal: int | None
    ) -> None:
        made.finish(end_ns, exit_status, signal)
        with made.lock:
            self._written = made.path
            if made.path is None:
                self._final = self._with_stages(read(made.connection, None, None, live=False))
        made.close()

    def _rescue(self) -> None:
        """The folder is a temporary one, or its sampler went on in memory: keep all in memory."""
        assert self.folder is not None
        if self._written is not None:
            self._final = load_folder(self.folder)
            self._written = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


_LEAST_KEPT_S = 60.0


def keep_raw_ns(keep_raw_s: float | None) -> int | None:
    """Nanoseconds for which readings are kept; None: for ever."""
    if keep_raw_s is None:
        return None
    if not keep_raw_s >= _LEAST_KEPT_S:
        raise UsageError(f"readings are kept for at least 1 minute, not {keep_raw_s!r} s")
    return round(min(keep_raw_s, 1e9) * NS_PER_S)


def _flat(stats: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers by name: ``sources/nvml/p99_s``, ``channels/3/update_spread_s``."""
    for name, value in stats.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            yield from _flat({str(i): row for i, row in enumerate(value)}, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", value


def _feed(machine: Machine) -> Feed | None:
    if machine.agent is None or not machine.borrowed:
        return None
    from pyprof.segments import Feed, Published

    places = dict(enumerate(machine.borrowed, len(machine.channels)))
    return Feed(Published(Path(machine.agent)), places)


_running: set[Session] = set()


def _leak_sessions() -> None:
    """In the child of a fork: sampler threads, devices and files are the parent's."""
    for session in tuple(_running):
        forks.leak(session._sampler)
        forks.leak(session._machine)
    _running.clear()


def _forget_marks() -> None:
    _native.reset_marks()
