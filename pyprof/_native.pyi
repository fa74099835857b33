"""The native core. Written by hand; checked against the module by stubtest."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

_F = TypeVar("_F", bound=Callable[..., Any])

__version__: str

# -- clock ---------------------------------------------------------------------------------------

def monotonic_ns() -> int: ...
def anchor() -> tuple[int, int, int]:
    """(CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME) in ns, read close together."""

# -- stages (bind/stage.cpp: a plain CPython type, because a mark must cost 0.3 us) ---------------

@final
class stage:
    """A named interval of work: ``with stage("forward"):`` or ``@stage("forward")``."""

    def __new__(
        cls, name: str, phase: str | None = None, *, sync: bool | Callable[[], object] | None = None
    ) -> stage: ...
    def __enter__(self) -> stage: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def __call__(self, function: _F, /) -> _F: ...
    @property
    def name(self) -> str:
        """As it is recorded: at most 512 characters, lone surrogates replaced."""
    @property
    def phase(self) -> str | None: ...
    def _fresh(self) -> stage:
        """The same stage, not entered: a decorator makes one for each call."""
    def _suspend(self) -> None:
        """A generator gives control to its caller: its stage and those within are not open."""
    def _resume(self) -> None:
        """A generator goes on: what it had open is open again, under what is open now."""

def stage_with_default(
    name: str,
    phase: str | None,
    default: str | None,
    sync: bool | Callable[[], object] | None = None,
    /,
) -> stage:
    """A stage whose phase is ``default`` where neither it nor what is around has one."""

def set_framework(wait: Callable[[], object] | None, /) -> None:
    """What ``sync=True`` calls; its NotImplemented means that nothing was waited for."""

def set_sync(sync: bool | Callable[[], object] | None, /) -> None:
    """``sync`` of the stages that say nothing themselves."""

def set_stage_hook(hook: Callable[[], object] | None, /) -> None:
    """Called once, at the first mark of a process (also of a forked child), before it is logged."""

def set_decorator(
    wrap: Callable[[stage, Callable[..., Any]], Callable[..., Any]] | None, /
) -> None:
    """What ``stage.__call__`` delegates to."""

def start_marks(phase: str, /) -> None:
    """Marks are logged from now on; outermost stages without a phase get ``phase``."""

def stop_marks() -> None:
    """Marks do nothing from now on."""

def drain_marks() -> bytes:
    """Marks since the last drain as checksummed frames; empty if there are none."""

def reset_marks() -> None:
    """For the child of a fork: nothing open, nothing logged, the hook is asked again."""

# -- hardware ------------------------------------------------------------------------------------

@final
class Channel:
    """What one number of a sensor is. Frozen."""

    def __init__(
        self,
        *,
        id: str,
        domain: str,
        device: str = "",
        uuid: str = "",
        parent: str = "",
        source: str = "",
        scope: str = "node",
        quality: str = "measured",
        method: str = "counter",
        reason: str = "",
        counted: bool = True,
        kind: str = "counter",
        unit: float = 1.0,
        range: int = 0,
        limit_w: float = 0.0,
        tolerance: float | None = None,
        low_ratio: float = 1.0,
        high_ratio: float = 1.0,
        window_ns: int = 0,
        period_ns: int = 0,
    ) -> None: ...
    @property
    def id(self) -> str: ...
    @property
    def domain(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def uuid(self) -> str: ...
    @property
    def parent(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def quality(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def counted(self) -> bool: ...
    @property
    def kind(self) -> str: ...
    @property
    def unit(self) -> float: ...
    @property
    def range(self) -> int: ...
    @property
    def limit_w(self) -> float: ...
    @property
    def tolerance(self) -> float | None: ...
    @property
    def low_ratio(self) -> float: ...
    @property
    def high_ratio(self) -> float: ...
    @property
    def window_ns(self) -> int: ...
    @property
    def period_ns(self) -> int: ...
    def replace(self, **changes: Any) -> Channel: ...

@final
class Found:
    """What one source found: its state, readable channels, unreadable ones, notes."""

    @property
    def name(self) -> str: ...
    @property
    def available(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def remedy(self) -> str: ...
    @property
    def channels(self) -> list[Channel]: ...
    @property
    def unreadable(self) -> list[Channel]: ...
    @property
    def notes(self) -> list[str]: ...

def source_names() -> list[str]:
    """Hardware sources in order of preference."""

@final
class Hardware:
    """Every source asked once: files opened, libraries loaded, nothing sampled yet."""

    def __init__(
        self,
        *,
        sysfs: str = "/sys",
        proc: str = "/proc",
        nvml: str = "",
        amd_smi: str = "",
        level_zero: str = "",
        meter: str = "",
        sources: Sequence[str] | None = None,
    ) -> None: ...
    @property
    def found(self) -> list[Found]: ...
    def adopt(self, channel: Channel) -> None:
        """Changes what is said of the readable channel of that id (counted, scope, reason, ids)."""
    def drop(self, channel_id: str) -> None:
        """The channel is not read and not recorded; a unit without channels is closed."""
    def add_load_model(self, channel: Channel, idle_w: float, design_w: float) -> None:
        """A modelled gauge: idle + (design - idle) x load of the whole machine (proc/stat)."""
    def add_constant_model(self, channel: Channel, power_w: float) -> None:
        """A modelled gauge of constant power."""
    def add_utilisation_model(self, channel: Channel, idle_w: float, design_w: float) -> None:
        """A modelled gauge from the utilisation of the unreadable GPU of that uuid."""
    def add_power_beside(self, counter: Channel) -> bool:
        """The power of that NVIDIA GPU as an uncounted gauge ``ID/power``; False if it has none."""
    def add_usage(
        self,
        *,
        root: int,
        with_root: bool,
        cgroup: str,
        packages: Sequence[tuple[str, Sequence[int]]],
        gpus: Sequence[tuple[str, str]],
    ) -> list[str]:
        """Gauges of who uses the packages (channel id, CPUs) and GPUs (channel id, uuid): channels
        ``ID/party`` and ``ID/all`` of the domain ``use``, in CPUs or shares of a GPU's time.
        Returns what can't be told, in sentences."""
    def add_conditions(self, gpus: Sequence[tuple[str, str]]) -> list[str]:
        """Gauges of what explains the power of NVIDIA GPUs (channel id, uuid): channels
        ``ID/busy``, ``ID/sm-clock`` (MHz), ``ID/temperature`` (degrees Celsius),
        ``ID/power-capped`` and ``ID/too-hot`` (0 or 1) of the domain ``condition``, once a second,
        as far as the driver has them. Returns of which GPUs nothing can be told, in sentences."""
    def add_replay(
        self,
        channel: Channel,
        segments: Sequence[tuple[int, float, float]],
        repeat: bool,
        *,
        sensor_period_ns: int,
        phase_ns: int = 0,
        jitter: float = 0.0,
        quantum_j: float = 0.0,
        window_ns: int = 0,
        start_count: int = 0,
        begin_ns: int = 0,
    ) -> None:
        """Pieces (duration_ns, start_w, end_w) read through a simulated sensor.

        They begin at ``begin_ns`` on CLOCK_MONOTONIC; 0: now.
        """
    @property
    def channels(self) -> list[Channel]:
        """All channels that a sampler of this hardware will record, in their order (index)."""

@final
class Sampler:
    """Threads that read the hardware and never take the GIL. One start, one stop."""

    def __init__(
        self,
        hardware: Hardware,
        interval_ns: int = 0,
        *,
        pace: str = "default",
        budget: float = 0.0,
        nice: int | None = None,
        realtime: int = 0,
        cpus: list[int] = ...,
    ) -> None:
        """``interval_ns`` 0: each channel at its own pace, followed as ``pace`` says.

        ``budget`` is a share of one core, 0: no limit; ``realtime`` a priority of SCHED_FIFO.
        """
    def start(self) -> None: ...
    def stop(self, settle_ns: int = 150_000_000) -> None:
        """Waits for one more update of each counter, at most ``settle_ns``, then ends the threads;
        a thread that hangs in a vendor call is left behind after 2 s and an event says so."""
    def drain(self) -> list[bytes]:
        """One frame per channel with what is new since the last drain (pulse only if no change)."""
    def events(self) -> list[tuple[int, str, int, int, str]]:
        """New events since the last call: (t_ns, kind, channel index or -1, count, text)."""
    def stats(self) -> dict[str, Any]:
        """cpu_s, wakes, reads, late, failed_reads, thinned, unseen, slowed so far.

        ``sources``: per name reads, failed_reads, p50_s, p99_s, total_s of a read. ``channels``: a
        list of update_period_s, update_spread_s (None while unknown) and mode.
        """
    @property
    def running(self) -> bool: ...

# -- rows of a recording -------------------------------------------------------------------------

def json_row(values: Sequence[object]) -> bytes | None:
    """Whole numbers, finite floats and None as compact JSON; None where anything else is there."""

# -- reading frames ------------------------------------------------------------------------------

def frame_info(frames: bytes) -> list[tuple[int, int, int, int, int]]:
    """Of each whole frame: (channel, first_seq, count, first stamp ns, last read ns)."""

def join_frames(frames: bytes, most: int = 4096) -> bytes:
    """The same changes, per channel in frames of at most ``most``: what a sealed block holds."""

def cut_frames(frames: bytes, from_ns: int, to_ns: int, context: int) -> bytes:
    """Of each frame the changes between two moments, and ``context`` more on either side."""

def make_frame(
    *,
    channel: int,
    first_seq: int,
    last_old_ns: Sequence[int],
    first_new_ns: Sequence[int],
    at_ns: Sequence[int],
    raw: Sequence[int],
    first_flags: int,
    last_read_ns: int,
    period_ns: int,
    interval_ns: int,
) -> bytes:
    """A frame of changes given as columns; ``first_flags`` are those of its first change."""

def make_marks(
    *,
    seq: int,
    names: Sequence[tuple[int, str]],
    marks: Sequence[tuple[int, int, int, int, int]],
) -> bytes:
    """A frame of marks: (1 begin or 2 end, t_ns, token, token of the parent, index of the name)."""

def roll_up(
    channel: Channel, frames: bytes, from_ns: int, grain_ns: int, until_ns: int, last: bool
) -> tuple[
    list[tuple[int, int, float | None, float | None, float, float, float]],
    list[tuple[int, str, int, str]],
]:
    """Whole grains as far as the readings are settled; ``last``: everything up to ``until_ns``.

    First (from ns, to ns, energy J, peak W, covered s, lost J, variance J2), then what was found
    in that time: (t_ns, kind, count, text).
    """

@final
class Splice:
    """The changes of several recordings of the same sensors made into one."""

    def __init__(self, channels: int) -> None: ...
    def begin(self, stream: str, channels: Sequence[int], shift_ns: int = 0) -> None:
        """What follows is of a recording whose channel i is ``channels[i]`` here (-1: left out).

        Recordings come in order of their beginnings; those of one ``stream`` are parts of one
        trace. ``shift_ns`` is added to its times.
        """
    def add(self, frames: bytes) -> bytes:
        """The frames numbered anew, without what earlier recordings have covered."""

@final
class Coarse:
    """Readings made coarser before others may see them; no energy is lost."""

    def __init__(self, channels: Sequence[Channel], grains: Sequence[tuple[int, float]]) -> None:
        """``grains``: (step in ns, quantum in J) of a channel; step 0: as it is."""
    def add(self, frames: bytes) -> bytes:
        """What may be seen by now: at most one value a step, in whole quanta."""

def coarse_channel(channel: Channel, step_ns: int, quantum_j: float) -> Channel:
    """What the coarse readings of ``channel`` are."""

# -- accounting ----------------------------------------------------------------------------------

@final
class Account:
    """Frames and marks of one run in, joules of channels and stages out."""

    def __init__(
        self, channels: Sequence[Channel], start_ns: int, end_ns: int, phase: str
    ) -> None: ...
    def add_frames(self, frames: bytes) -> None: ...
    def add_marks(self, process: int, marks: bytes, shift_ns: int = 0) -> None: ...
    def add_rolls(
        self,
        channel: int,
        rolls: Sequence[tuple[int, int, float | None, float | None, float, float, float]],
    ) -> None:
        """Roll-ups (as of ``roll_up``, sorted) that stand for the readings of their time."""
    def times_ns(self) -> list[int]:
        """Every moment within the run at which a stage begins or ends, and the run; sorted."""
    def solve(self) -> dict[str, Any]:
        """Keys: energy_j, low_j, high_j, channels (list of dict or None), stages (list of dict with
        path, phase, count, processes, duration_s, wall_s, energy_j, low_j, high_j, self_energy_j,
        channels_j (list of float or None), unresolved (list of index), solved (list of dict with
        channel index, energy_j, low_j, high_j, mean_w, iterations, lag_s), bound (dict of cause:
        half-width, joules; channels have it too), cut, synced), events (list of
        (channel index, t_ns, kind, count, text)), damaged_bytes. Unknown numbers are None."""
    def series(self, from_ns: int, to_ns: int, steps: int) -> list[list[float | None]]: ...
    def own(self, times_ns: Sequence[int]) -> list[tuple[str, str, list[float | None]]]:
        """Of every row (path, phase, self_energy_j from the start up to each moment, sorted)."""
