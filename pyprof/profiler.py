"""The profiler of a Python program: ``with pyprof.Profiler() as prof: ...; prof.report()``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pyprof import _native, forks, host, privacy, runfolder, settings, stagelog
from pyprof.energy import PHASES, EnergyReport
from pyprof.errors import PyprofError, UsageError
from pyprof.notice import say
from pyprof.sampling import Sampling, Scheduling
from pyprof.session import Session, keep_raw_ns
from pyprof.stages import stage
from pyprof.usage import Party

if TYPE_CHECKING:
    from pyprof.carbon import Scenario
    from pyprof.hardware import Look
    from pyprof.privacy import Redactor
    from pyprof.recording import Recording

SCOPES = ("devices", "node")
_SYSFS = "/sys"
#: The name of a recording that several processes write together.
SHARED_SUFFIX = ".pyprof.d"


class Profiler:
    """Measures energy from ``start`` to ``stop``, per stage and per channel.

    The first one in a process samples. A second one beside it, or one inside ``pyprof run``,
    samples nothing: its stages go to the first, and its report covers its own time.
    """

    def __init__(
        self,
        out: str | os.PathLike[str] | None = None,
        zone: str | None = None,
        pue: float | None = None,
        phase: str = "training",
        interval: float | None = None,
        pace: str = "default",
        sources: Sequence[str] | None = None,
        model: bool = True,
        sysfs: str = _SYSFS,
        nvml: str | None = None,
        simulate: str | None = None,
        budget: float | None = None,
        scheduling: Scheduling | None = None,
        baseline: str | os.PathLike[str] | None = None,
        scope: str = "devices",
        sync: bool | Callable[[], object] | None = None,
        fallback_dir: str | os.PathLike[str] | None = None,
        keep_raw: float | None = None,
        redact: bool = False,
        conditions: bool = False,
    ) -> None:
        """Check every choice; nothing is opened before ``start``.

        ``out`` None leaves no file behind; a name that ends in ``.pyprof.d`` is a folder that
        several processes of this host share, of which one reads each device. ``interval`` is in
        seconds, None: each sensor at its own pace, which ``pace`` (default, fine or finest) follows
        more or less closely. ``budget`` is what sampling may take, in percent of one core (see
        :class:`pyprof.sampling.Sampling`), ``scheduling`` where and how urgently it runs. ``sysfs``
        and ``nvml`` stand for ``/sys`` and the system's NVML library; ``simulate`` is a file of
        signals to measure instead of hardware. ``baseline`` is a file of ``pyprof baseline``; None:
        this machine's own, if it has one; ``"none"``: none. ``scope`` is ``devices``, the GPUs that
        the environment gives to the job, or ``node``, all of them. ``sync`` makes every stage wait
        for the devices at both ends: True by the framework that the program has loaded (torch,
        cupy, jax), or something to call. If ``out`` can't be written, the recording goes on in
        ``fallback_dir``. Readings older than ``keep_raw`` seconds are given up for their roll-ups
        of a minute and more; None keeps all. With ``redact`` recording and reports name no host,
        user or device: pseudonyms instead. With ``conditions`` NVIDIA GPUs are asked once a second
        for what explains their power: utilisation, clock, temperature and what holds them back.
        """
        if phase not in PHASES:
            raise UsageError(f"phase must be one of {', '.join(PHASES)}, not {phase!r}")
        if scope not in SCOPES:
            raise UsageError(f"scope must be one of {', '.join(SCOPES)}, not {scope!r}")
        if sync is not None and not isinstance(sync, bool) and not callable(sync):
            raise UsageError(f"sync must be True, False or something to call, not {sync!r}")
        self._sampling = Sampling(pace, interval, budget, scheduling or Scheduling(), conditions)
        self._scope = scope
        self._sync = sync
        keep_raw_ns(keep_raw)
        self._fallback_dir = None if fallback_dir is None else Path(os.fspath(fallback_dir))
        self._keep_raw_s = keep_raw
        self._redact = redact
        self._out = None if out is None else Path(os.fspath(out))
        self._zone = zone
        self._pue = pue
        self._phase = phase
        if isinstance(sources, str):
            sources = [name for name in sources.split(",") if name]
        self._sources = None if sources is None else tuple(sources)
        self._model = model
        self._sysfs = os.environ.get("PYPROF_SYSFS", sysfs) if sysfs == _SYSFS else sysfs
        self._nvml = nvml if nvml is not None else os.environ.get("PYPROF_NVML") or None
        self._simulate = simulate
        self._baseline = None if baseline is None else os.fspath(baseline)
        self._session: Session | None = None
        self._log: stagelog.StageLog | None = None
        self._keeps = False
        self._pid = 0
        self._start_ns = 0
        self._end_ns: int | None = None
        _check_place(zone, pue)

    def __enter__(self) -> Profiler:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, whatever happened."""
        self.stop()

    # -- life

    @property
    def active(self) -> bool:
        """Whether it measures, here and now."""
        return self._pid == os.getpid() and self._end_ns is None

    def start(self) -> None:
        """Measure from now on."""
        if self.active:
            raise UsageError("this profiler is already active: stop it first, or make another")
        self._session = self._log = None
        self._keeps = False
        if self._is_shared or runfolder.surrounding() is not None:
            self._join_run()
            self._start_ns = time.monotonic_ns()
        else:
            self._join_session()
        if self._sync is not None:
            _native.set_sync(self._sync)
        self._pid, self._end_ns = os.getpid(), None

    def stop(self) -> None:
        """The end counts from here; the recording is whole when this returns."""
        if not self.active:
            return
        self._end_ns = time.monotonic_ns()
        if self._log is not None:
            self._log.rest()
        if self._sync is not None:
            _native.set_sync(runfolder.sync_of_run())
        if self._session is not None:
            ended = _give_back(self._session)
            if ended and self._session.end_ns is not None:
                self._end_ns = self._session.end_ns

    def stage(
        self,
        name: str,
        phase: str | None = None,
        *,
        sync: bool | Callable[[], object] | None = None,
    ) -> stage:
        """A named interval of work: context manager and decorator; ``sync`` as of the profiler."""
        chosen = self._sync if sync is None else sync
        return _native.stage_with_default(name, phase, self._phase, chosen)

    # -- results

    def report(
        self,
        zone: str | None = None,
        pue: float | None = None,
        scenario: Scenario | None = None,
    ) -> EnergyReport:
        """Joules from start to stop, or up to now; with a zone, kilograms as well."""
        self._check_mine()
        end_ns = self._end_ns if self._end_ns is not None else time.monotonic_ns()
        recording, names = self._nameless(self._recording(end_ns))
        # Whoever samples may be in another time namespace.
        shift_ns = recording.process.offset_ns - host.monotonic_offset_ns()
        report = recording.report(
            zone if zone is not None or scenario is not None else self._place(recording),
            pue if pue is not None else self._pue,
            scenario,
            start_ns=self._start_ns + shift_ns,
            end_ns=end_ns + shift_ns,
            phase=self._phase,
        )
        report = privacy.redact_stages(report, names)
        if self._end_ns is not None and recording.live:
            # The run goes on around this profiler; its own part of it is whole.
            return replace(report, run=replace(report.run, complete=True))
        return report

    def _nameless(self, recording: Recording) -> tuple[Recording, Redactor | None]:
        """As it is to be shown, and the names that it uses if they are not the true ones."""
        if not self._redact:
            return recording, None
        names = privacy.active() if self._session is None else self._session.names
        return privacy.redact(recording) if names is None else (recording, names)

    def _place(self, recording: Recording) -> str | None:
        """The zone of this profiler; None where the recording keeps it with its factor."""
        if self._keeps or (self._zone is None and "scenario" in recording.meta):
            return None
        return self._zone if self._zone is not None else _default_zone()

    def _recording(self, now_ns: int) -> Recording:
        if self._log is not None:
            return stagelog.recording_so_far(self._log, now_ns)
        assert self._session is not None
        return self._session.recording

    def _check_mine(self) -> None:
        if self._pid == 0:
            raise UsageError("nothing was measured yet: start the profiler first")
        if self._pid != os.getpid():
            raise UsageError(
                "this profiler belongs to the process that started it; a forked child has none"
            )

    # -- parts of start

    @property
    def _is_shared(self) -> bool:
        """Whether the recording is to be a folder for several processes."""
        return self._out is not None and self._out.name.endswith(SHARED_SUFFIX)

    def _join_run(self) -> None:
        if self._is_shared:
            assert self._out is not None
            folder = Path(os.path.abspath(self._out))
            if runfolder.surrounding() is None:
                self._check_shared(folder)
                runfolder.share(folder)
            run = runfolder.settle(runfolder.Surrounding(folder, self._phase))
            if run.folder != folder:
                self._say_unused("the recording of the run around it")
        else:
            self._say_unused("the recording of the `pyprof run` around it")
        self._log = stagelog.enter()
        if self._log is not None:
            self._log.sample(self._make_look(), self._sampling)

    def _check_shared(self, folder: Path) -> None:
        """Refuse what each process could only do for itself."""
        if self._redact and privacy.active() is None:
            raise UsageError(
                f"processes that share {folder.name} have no pseudonyms in common: start them by "
                "`pyprof run --redact`, or give --redact to `pyprof report`"
            )

    def _join_session(self) -> None:
        self._session, first = _share(self._make_session)
        if not first:
            self._say_unused("the recording of the first one")
        self._start_ns = self._session.start_ns if first else time.monotonic_ns()

    def _say_unused(self, instead: str) -> None:
        if self._out is not None:
            say(f"{self._out} is not written: this profiler's stages go to {instead}")

    def _make_look(self) -> Look:
        from pyprof.hardware import Look

        return Look(
            agent=settings.default_agent(self._sysfs) if self._simulate is None else None,
            sysfs=self._sysfs,
            nvml=self._nvml,
            sources=self._sources,
            model=self._model,
            simulate=self._simulate,
            amd_smi=settings.default_place("PYPROF_AMDSMI"),
            level_zero=settings.default_place("PYPROF_ZES"),
            meter=settings.default_place("PYPROF_METER"),
            proc=settings.default_proc(),
            scope=self._scope,
        )

    def _make_session(self) -> Session:
        kept = _kept(self._zone, self._pue)
        self._keeps = kept is not None
        return Session(
            self._make_look(),
            out=self._out,
            phase=self._phase,
            sampling=self._sampling,
            kept=kept,
            baseline=self._baseline,
            party=Party(os.getpid()),
            fallback_dir=self._fallback_dir,
            keep_raw_s=self._keep_raw_s,
            redact=self._redact,
        )


# -- the session that all profilers of a process share ---------------------------------------------

_session: Session | None = None
_users = 0
_lock = threading.RLock()


def _share(make: Callable[[], Session]) -> tuple[Session, bool]:
    """The process' session, and whether it was begun by this call."""
    global _session, _users
    with _lock:
        first = _session is None
        if _session is None:
            made = make()
            made.start()
            forks.call_in_child(_forget)
            _session = made
        _users += 1
        return _session, first


def _give_back(session: Session) -> bool:
    """The last profiler to stop ends the session; says whether this one was it."""
    global _session, _users
    with _lock:
        if session is not _session:
            return False
        _users -= 1
        if _users > 0:
            return False
        _session = None
    session.stop()
    return True


def _forget() -> None:
    """In the child of a fork there is no session."""
    global _session, _users, _lock
    _session, _users, _lock = None, 0, threading.RLock()


def _check_place(zone: str | None, pue: float | None) -> None:
    """A wrong zone or PUE is refused before the work, not after it."""
    if zone is None and pue is None:
        return
    from pyprof.carbon import Scenario

    scenario = Scenario(zone=zone, pue=pue)
    if scenario.has_place:
        scenario.resolve()


def _kept(zone: str | None, pue: float | None) -> str | None:
    """What the recording keeps; a wrong place of the user's settings waits for the report."""
    place = zone if zone is not None else _default_zone()
    if place is None:
        return None
    from pyprof.carbon import Scenario, keep_text

    try:
        return keep_text(Scenario(zone=place, pue=pue))
    except PyprofError:
        return None


def _default_zone() -> str | None:
    """The place that the user has set for all runs, if any."""
    from pyprof.settings import default_zone

    return default_zone()
