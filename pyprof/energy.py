"""The value in which measuring and accounting meet: joules, with how each of them is known."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from pyprof.errors import UsageError

SCHEMA = "pyprof.report/1"

#: ``counter``: difference of an energy counter. Order is that of trust.
QUALITIES = ("measured", "derived", "modelled", "unmeasured")
PHASES = ("development", "training", "deployment")
DOMAINS = ("gpu", "package", "core", "uncore", "dram", "psys", "module", "host", "other")
#: How a channel's energy comes about, what it covers, and what may happen to it or to the run.
METHODS = ("counter", "power-instant", "power-average", "model", "replay")
SCOPES = ("node", "devices", "process tree")
EVENTS = ("gap", "wrap", "reset", "lost", "back", "denied", "failed", "late", "suspend", "note")
JOULES_PER_KWH = 3.6e6


class Priced(Protocol):
    """A footprint as the report carries it (see :mod:`pyprof.carbon`)."""

    def to_dict(self) -> dict[str, Any]:
        """The ``footprint`` block of the JSON report."""


class Timed(Protocol):
    """What knows when the energy of a report was used."""

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[tuple[float, float, float]]:
        """Bins of (start, end, joules), in seconds of Unix time."""


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured, when and where. Times are CLOCK_MONOTONIC of the host.

    ``scope`` is ``node`` where any counted channel covers the whole machine, else ``devices``;
    ``covers`` says the same in words.
    """

    id: str
    command: str | None
    host: str | None
    boot_id: str | None
    start_utc: str | None
    start_mono_ns: int
    end_mono_ns: int
    duration_s: float
    exit_status: int | None
    signal: int | None
    complete: bool
    scope: str
    covers: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """One driver interface: whether it was readable, if not why, and what mends it."""

    name: str
    available: bool
    reason: str | None
    remedy: str | None


@dataclass(frozen=True, slots=True)
class Split:
    """What the device would have used at rest in the same time, and what it used beyond that.

    ``idle_low_j`` to ``idle_high_j`` is the spread of its power at rest; ``dynamic_j`` is the
    energy less ``idle_j``, which is never more than the energy.
    """

    idle_j: float
    idle_low_j: float
    idle_high_j: float
    dynamic_j: float


@dataclass(frozen=True, slots=True)
class Rest:
    """The baseline behind a report's splits; ``unsplit`` are counted channels it does not hold."""

    made_utc: str
    duration_s: float
    measurements: int
    host: str | None
    power_w: Mapping[str, float]
    unsplit: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remainder:
    """A reading of the whole less its counted parts: what has no sensor of its own.

    ``low_j`` and ``high_j`` bound what sampling can't see; ``tolerance_j`` is the half-width for
    the accuracy of all sensors together, None if that of one is not known. ``energy_j`` is None,
    with a ``reason``, where not all can be right or one is not known over the whole run.
    """

    whole: str
    parts: tuple[str, ...]
    quality: str
    energy_j: float | None
    low_j: float | None
    high_j: float | None
    tolerance_j: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A counter's energy over that of a second sensor of the same device.

    ``low`` to ``high`` is the ratio's 95 % interval (None: no end); ``verdict`` is *agree* within
    the accuracy of both, *disagree*, or *unresolved*.
    """

    against: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str
    text: str


@dataclass(frozen=True, slots=True)
class Share:
    """Who used a device: the energy of its channel in three parts, by a rule.

    ``scope`` says whose ``energy_j`` is: *process tree* or *cgroup*. The three parts add up to the
    channel's energy; ``low_j`` and ``high_j`` are what the rule leaves open of the first.
    """

    channel: str
    scope: str
    energy_j: float
    low_j: float
    high_j: float
    others_j: float
    idle_j: float
    quality: str
    rule: str


@dataclass(frozen=True, slots=True)
class Condition:
    """What explains a GPU's power: means over the run or a stage; what is unknown is None.

    ``busy``, ``power_capped`` and ``too_hot`` are shares of the time: in which kernels ran, and in
    which its power limit, or its temperature, held the clock down.
    """

    channel: str
    busy: float | None
    sm_clock_mhz: float | None
    temperature_c: float | None
    power_capped: float | None
    too_hot: float | None

    @property
    def values(self) -> tuple[float | None, ...]:
        """All but the channel, in order."""
        return self.busy, self.sm_clock_mhz, self.temperature_c, self.power_capped, self.too_hot


@dataclass(frozen=True, slots=True)
class Channel:
    """Energy of one sensor or model over the run; unknown is None, never 0."""

    id: str
    domain: str
    device: str
    uuid: str | None
    parent: str | None
    counted: bool
    scope: str
    quality: str
    method: str
    energy_j: float | None
    low_j: float | None
    high_j: float | None
    tolerance: float | None
    mean_w: float | None
    peak_w: float | None
    coverage: float | None
    update_period_s: float | None
    source: str = ""
    reason: str | None = None
    update_spread_s: float | None = None
    bound: Mapping[str, float] = field(default_factory=dict)
    split: Split | None = None
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class Solved:
    """A stage whose entries a channel sees only together, solved from all of them at once.

    ``mean_w`` is over ``iterations`` entries; power follows the marks by ``lag_s`` seconds.
    """

    channel: str
    energy_j: float
    low_j: float
    high_j: float
    mean_w: float
    iterations: int
    lag_s: float


@dataclass(frozen=True, slots=True)
class Stage:
    """All entries of one path and phase, from all threads, tasks and processes."""

    path: str
    phase: str
    count: int
    processes: int
    duration_s: float
    wall_s: float
    energy_j: float | None
    low_j: float | None
    high_j: float | None
    self_energy_j: float | None
    resolved: bool
    unresolved: tuple[str, ...]
    by_quality: Mapping[str, float]
    channels: Mapping[str, float | None]
    cut: bool = False
    #: Channels on which the stage is known from its repeats alone.
    solved: tuple[Solved, ...] = ()
    #: Half-widths of the interval's causes, joules: edges, quantum, gaps, window, repeats, model.
    bound: Mapping[str, float] = field(default_factory=dict)
    split: Split | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    sync: bool = False


@dataclass(frozen=True, slots=True)
class Total:
    """The sum over counted channels. ``energy_kwh`` never includes a PUE."""

    energy_j: float | None
    low_j: float | None
    high_j: float | None
    by_quality: Mapping[str, float]
    by_domain: Mapping[str, float]
    unmeasured: tuple[str, ...]
    bound: Mapping[str, float] = field(default_factory=dict)
    split: Split | None = None

    @property
    def energy_kwh(self) -> float | None:
        """The same energy in kilowatt-hours."""
        return None if self.energy_j is None else self.energy_j / JOULES_PER_KWH


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a channel or to the run; ``t_s`` counts from its start."""

    t_s: float
    kind: str
    channel: str | None
    count: int
    text: str


@dataclass(frozen=True, slots=True)
class SourceCost:
    """What reading one source cost: how often, and how long a read took (wall time)."""

    name: str
    reads: int
    failed_reads: int
    p50_s: float
    p99_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Overhead:
    """What measuring itself cost. ``cpu_percent`` is of one core.

    ``unseen`` counts updates that were predicted and not seen, ``thinned`` changes that were merged
    because nobody took them away in time, ``slowed`` how many times rarer than planned the rarest
    reads were at the end.
    """

    cpu_s: float | None
    cpu_percent: float | None
    wakes: int | None
    reads: int | None
    late: int | None
    failed_reads: int | None
    unseen: int | None = None
    thinned: int | None = None
    slowed: int | None = None
    sources: tuple[SourceCost, ...] | None = None


class Channels(Mapping[str, Channel]):
    """Channels by id, in the order of the report."""

    def __init__(self, channels: tuple[Channel, ...]) -> None:
        """Index ``channels`` by their id."""
        self._by_id = {channel.id: channel for channel in channels}

    def __getitem__(self, channel_id: str) -> Channel:
        """The channel of that id."""
        return self._by_id[channel_id]

    def __iter__(self) -> Iterator[str]:
        """Ids in the order of the report."""
        return iter(self._by_id)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_id)


class Stages(Mapping[str, Stage]):
    """Stages by path; ``rows`` has every (path, phase) pair, the root first."""

    def __init__(self, rows: tuple[Stage, ...]) -> None:
        """Index ``rows`` by their path."""
        self.rows = rows
        self._by_path: dict[str, list[Stage]] = {}
        for row in rows:
            self._by_path.setdefault(row.path, []).append(row)

    def __getitem__(self, path: str) -> Stage:
        """The one row of ``path``; a path with rows of two phases is refused by name."""
        rows = self._by_path[path]
        if len(rows) > 1:
            phases = " and ".join(repr(row.phase) for row in rows)
            raise KeyError(f"{path!r} has rows of the phases {phases}: use get_row(path, phase)")
        return rows[0]

    def get_row(self, path: str, phase: str) -> Stage:
        """The row of ``path`` in ``phase``."""
        for row in self._by_path.get(path, []):
            if row.phase == phase:
                return row
        raise KeyError(f"no stage {path!r} in phase {phase!r}")

    def __iter__(self) -> Iterator[str]:
        """Paths in the order of the report."""
        return iter(self._by_path)

    def __len__(self) -> int:
        """How many paths there are."""
        return len(self._by_path)

    def values(self) -> StageValues:
        """Every row, the root first: a path has one for each of its phases."""
        return StageValues(self)

    def items(self) -> StageItems:
        """Every row with its path: a path comes once for each of its phases."""
        return StageItems(self)


class StageValues(ValuesView[Stage]):
    """The rows, which may outnumber the paths."""

    _mapping: Stages

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._mapping.rows)

    def __iter__(self) -> Iterator[Stage]:
        """Rows in the order of the report."""
        return iter(self._mapping.rows)

    def __contains__(self, row: object) -> bool:
        """Whether that row is one of them."""
        return row in self._mapping.rows


class StageItems(ItemsView[str, Stage]):
    """The rows with their paths, which may come more than once."""

    _mapping: Stages

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._mapping.rows)

    def __iter__(self) -> Iterator[tuple[str, Stage]]:
        """Paths and rows in the order of the report."""
        return ((row.path, row) for row in self._mapping.rows)

    def __contains__(self, item: object) -> bool:
        """Whether that pair is one of them."""
        return item in list(self)


@dataclass(frozen=True, slots=True)
class EnergyReport:
    """Joules per stage and channel, with coverage, method and bound.

    ``low_j`` and ``high_j`` bound what sampling can't see, at 95 %; a sensor's own accuracy is
    its channel's ``tolerance``. ``footprint`` is None until a zone or a factor is given.
    """

    pyprof_version: str
    run: Run
    sources: tuple[Source, ...]
    channel_rows: tuple[Channel, ...]
    stage_rows: tuple[Stage, ...]
    total: Total
    events: tuple[Event, ...]
    overhead: Overhead
    footprint: Priced | None = None
    baseline: Rest | None = None
    remainders: tuple[Remainder, ...] = ()
    shares: tuple[Share, ...] = ()
    conditions: tuple[Condition, ...] = ()
    timed: Timed | None = field(default=None, repr=False, compare=False)
    _channels: Channels = field(init=False, repr=False, compare=False)
    _stages: Stages = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index channels and stages once."""
        object.__setattr__(self, "_channels", Channels(self.channel_rows))
        object.__setattr__(self, "_stages", Stages(self.stage_rows))

    @property
    def channels(self) -> Channels:
        """Channels by id."""
        return self._channels

    @property
    def stages(self) -> Stages:
        """Stages by path."""
        return self._stages

    @property
    def energy_j(self) -> float | None:
        """Total energy of counted channels, joules; None if nothing is known."""
        return self.total.energy_j

    @property
    def low_j(self) -> float | None:
        """Lower end of the total's 95 % interval, joules."""
        return self.total.low_j

    @property
    def high_j(self) -> float | None:
        """Upper end of the total's 95 % interval, joules."""
        return self.total.high_j

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[tuple[float, float, float]]:
        """Bins of (start, end, joules), in seconds of Unix time.

        Without a path, the energy of all counted channels over the run. With a path, and a phase
        where the path has several, the energy that is the row's own (``self_energy_j``), so that
        over all rows the bins add up to those of the run. Bins end at ``edges_s``, where these
        lie within the run; without them on full steps of UTC.
        """
        if self.timed is None:
            raise UsageError(
                "this report no longer knows when its energy was used: ask its recording, "
                "as in pyprof.load(path).report()"
            )
        return self.timed.power_series(path, phase, edges_s)

    def __getstate__(self) -> dict[str, Any]:
        """Values alone: what is sent to another process leaves the readings behind."""
        names = (each.name for each in fields(self))
        return {name: getattr(self, name) for name in names if name != "timed"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """The same report, which no longer knows when its energy was used."""
        for name, value in {**state, "timed": None}.items():
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """The report in the form of the JSON contract, schema ``pyprof.report/1``."""
        from pyprof.export.json import report_dict

        return report_dict(self)
