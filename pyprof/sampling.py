"""How sensors are read: the named paces, blind intervals, the budget, and where the threads run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyprof.errors import UsageError
from pyprof.host import NS_PER_S

if TYPE_CHECKING:
    from pyprof import _native

#: Each pace with the CPU time that sampling may take by default, in percent of one core.
BUDGETS_PERCENT: Mapping[str, float] = {"default": 1.0, "fine": 3.0, "finest": 5.0}
PACES = tuple(BUDGETS_PERCENT)
_LEAST_INTERVAL_S = 1e-4
_MOST_INTERVAL_S = 3600


@dataclass(frozen=True, slots=True)
class Scheduling:
    """Where and how urgently the sampling threads run; as any other thread where nothing is set.

    ``realtime`` (SCHED_FIFO, 1 to 99) and a negative ``nice`` need CAP_SYS_NICE: where they are
    refused, the run goes on without and an event says so.
    """

    nice: int | None = None
    realtime: int | None = None
    cpus: Sequence[int] | None = None

    def __post_init__(self) -> None:
        """Refuse what no system takes."""
        if self.nice is not None and not -20 <= self.nice <= 19:
            raise UsageError(f"nice must be between -20 and 19, not {self.nice!r}")
        if self.realtime is not None and not 1 <= self.realtime <= 99:
            raise UsageError(f"realtime must be between 1 and 99, not {self.realtime!r}")
        if self.cpus is not None and (not self.cpus or any(cpu < 0 for cpu in self.cpus)):
            raise UsageError("cpus must name at least one processor by its number, from 0")


@dataclass(frozen=True, slots=True)
class Sampling:
    """One choice of how to read.

    ``interval_s`` reads everything blindly; without it ``pace`` says how closely each sensor is
    followed. ``budget_percent`` of one core is what sampling may take before it slows down: None
    stands for that of the pace, and for no limit with an interval; 0 is no limit. With
    ``conditions`` GPUs are also asked once a second what explains their power.
    """

    pace: str = "default"
    interval_s: float | None = None
    budget_percent: float | None = None
    scheduling: Scheduling = Scheduling()
    conditions: bool = False

    def __post_init__(self) -> None:
        """Refuse wrong choices before anything is opened."""
        if self.pace not in PACES:
            raise UsageError(f"pace must be one of {', '.join(PACES)}, not {self.pace!r}")
        interval = self.interval_s
        if interval is not None and not _LEAST_INTERVAL_S <= interval <= _MOST_INTERVAL_S:
            raise UsageError(
                f"interval must be between 0.0001 and 3600 seconds, not {self.interval_s!r}"
            )
        if self.budget_percent is not None and not 0 <= self.budget_percent <= 100:
            raise UsageError(
                f"budget must be between 0 and 100 percent of a core, not {self.budget_percent!r}"
            )

    @property
    def interval_ns(self) -> int:
        """Nanoseconds between blind reads; 0 for each sensor at its own pace."""
        return 0 if self.interval_s is None else round(self.interval_s * NS_PER_S)

    @property
    def budget(self) -> float:
        """The budget as a share of one core; 0 for no limit."""
        if self.budget_percent is not None:
            return self.budget_percent / 100
        return 0.0 if self.interval_s is not None else BUDGETS_PERCENT[self.pace] / 100

    def sampler(self, hardware: _native.Hardware) -> _native.Sampler:
        """A sampler of ``hardware`` that reads so."""
        from pyprof import _native

        where = self.scheduling
        return _native.Sampler(
            hardware,
            self.interval_ns,
            pace=self.pace,
            budget=self.budget,
            nice=where.nice,
            realtime=where.realtime or 0,
            cpus=list(where.cpus or ()),
        )
