"""Energy as the accounting half sees it: entries per stage and phase, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pyprof.carbon.bounds import Term, term_from_interval
from pyprof.carbon.units import j_from_kwh, require_number
from pyprof.errors import UsageError

ENERGY_PHASES = ("development", "training", "deployment", "idle", "infrastructure")
_SENSED = ("measured", "derived")
_OVERHEAD_SCOPES = ("wall", "rack", "facility")
# Sources that read outside the machine, whatever they are plugged into.
_OUTSIDE = ("meter",)


class ChannelLike(Protocol):
    """What is needed of a channel."""

    @property
    def id(self) -> str:
        """Short and stable."""

    @property
    def domain(self) -> str:
        """What it measures: gpu, package and so on."""

    @property
    def scope(self) -> str:
        """What the reading covers."""

    @property
    def source(self) -> str:
        """Which driver interface read it."""

    @property
    def quality(self) -> str:
        """How the energy is known."""

    @property
    def counted(self) -> bool:
        """Whether the total includes it."""

    @property
    def energy_j(self) -> float | None:
        """Joules; None is unknown."""

    @property
    def tolerance(self) -> float | None:
        """The sensor's accuracy as a fraction; None is unknown."""


class StageLike(Protocol):
    """What is needed of a stage row."""

    @property
    def path(self) -> str:
        """Names joined with a slash."""

    @property
    def phase(self) -> str:
        """The life-cycle phase of the row."""

    @property
    def self_energy_j(self) -> float | None:
        """Joules that are the row's own; over all rows they add up to the total."""


class TotalLike(Protocol):
    """What is needed of a total."""

    @property
    def energy_j(self) -> float | None:
        """Joules of counted channels."""

    @property
    def low_j(self) -> float | None:
        """Lower end of what sampling can't see."""

    @property
    def high_j(self) -> float | None:
        """Upper end of what sampling can't see."""

    @property
    def by_quality(self) -> Mapping[str, float]:
        """Joules per quality."""

    @property
    def unmeasured(self) -> Sequence[str]:
        """Ids of channels that are present without energy."""


class ReportLike(Protocol):
    """An energy report, or anything that answers the same questions."""

    @property
    def total(self) -> TotalLike:
        """Sum over counted channels."""

    @property
    def stage_rows(self) -> Sequence[StageLike]:
        """Rows whose own energies add up to the total."""

    @property
    def channel_rows(self) -> Sequence[ChannelLike]:
        """All channels."""


#: (start, end) in seconds of Unix time, and the joules used between them.
Bin = tuple[float, float, float]


@runtime_checkable
class Timed(Protocol):
    """What knows when energy was used."""

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[Bin]:
        """Bins of (start, end, joules), in seconds of Unix time.

        Without a path, the energy of all counted channels over the run. With a path, and a phase
        where the path has several, the energy that is the row's own (``self_energy_j``), so that
        over all rows the bins add up to those of the run. ``edges_s`` is where bins should end,
        for the moments at which an intensity changes.
        """


@runtime_checkable
class TimedReport(ReportLike, Timed, Protocol):
    """A report that also knows when its energy was used."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Energy of one stage in one phase; None is unknown."""

    path: str
    phase: str
    energy_j: float | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """IT energy with its entries, its uncertainty and what it leaves out."""

    energy_j: float | None
    entries: tuple[Entry, ...]
    terms: tuple[Term, ...] = ()
    by_quality: tuple[tuple[str, float], ...] = ()
    unmeasured: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    overhead_inside: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is any energy figure."""
        return self.energy_j is not None


def ledger_from_report(report: ReportLike, phase: str | None = None) -> Ledger:
    """The ledger of a report; ``phase`` overrides the phases of its rows."""
    total = report.total
    return Ledger(
        energy_j=total.energy_j,
        entries=tuple(
            Entry(row.path, phase or row.phase, row.self_energy_j) for row in report.stage_rows
        ),
        terms=_terms(report),
        by_quality=tuple(sorted(total.by_quality.items())),
        unmeasured=tuple(total.unmeasured),
        untold=_untold(report.channel_rows),
        overhead_inside=_overhead_inside(report.channel_rows),
    )


def ledger_from_kwh(energy_kwh: Mapping[str, float]) -> Ledger:
    """The ledger of stated figures, kilowatt-hours per phase."""
    entries = tuple(
        Entry("", check_phase(phase), j_from_kwh(require_number(kwh, f"energy of {phase!r}")))
        for phase, kwh in energy_kwh.items()
    )
    if not entries:
        raise UsageError("no energy is given: a mapping such as {'training': 433196.0} is needed")
    energy_j = math.fsum(entry.energy_j or 0.0 for entry in entries)
    return Ledger(energy_j, entries, by_quality=(("stated", energy_j),))


def join_ledgers(ledgers: Iterable[Ledger]) -> Ledger:
    """Several ledgers as one; their energies add and their terms weigh by energy."""
    parts = list(ledgers)
    known = [part.energy_j for part in parts if part.energy_j is not None]
    total = math.fsum(known) if known else None
    qualities: dict[str, float] = {}
    for part in parts:
        for name, energy_j in part.by_quality:
            qualities[name] = qualities.get(name, 0.0) + energy_j
    return Ledger(
        energy_j=total,
        entries=tuple(entry for part in parts for entry in part.entries),
        terms=tuple(_weighed(parts, total)),
        by_quality=tuple(sorted(qualities.items())),
        unmeasured=tuple(name for part in parts for name in part.unmeasured),
        untold=tuple(name for part in parts for name in part.untold),
        overhead_inside=next((p.overhead_inside for p in parts if p.overhead_inside), None),
    )


def check_phase(phase: object) -> str:
    """``phase`` if energy can belong to it."""
    if not isinstance(phase, str) or phase not in ENERGY_PHASES:
        names = ", ".join(ENERGY_PHASES)
        raise UsageError(f"unknown phase {phase!r}: energy belongs to one of {names}")
    return phase


def _weighed(parts: Iterable[Ledger], total: float | None) -> Iterable[Term]:
    """The terms of every part, relative to the joint total."""
    for part in parts:
        share = (part.energy_j or 0.0) / total if total else 0.0
        for term in part.terms:
            yield Term(term.cause, term.below * share, term.above * share)


def _terms(report: ReportLike) -> tuple[Term, ...]:
    """What sampling can't see, and the accuracy of each kind of sensor."""
    total = report.total
    energy_j = total.energy_j
    if not energy_j:
        return ()
    low_j = energy_j if total.low_j is None else total.low_j
    high_j = energy_j if total.high_j is None else total.high_j
    sampling = term_from_interval("sampling", energy_j, low_j, high_j)
    sensors = [
        Term(f"sensor: {channel.domain}", tolerated / energy_j, tolerated / energy_j)
        for channel in report.channel_rows
        if (tolerated := _tolerated_j(channel)) > 0.0
    ]
    return (*([] if sampling is None else [sampling]), *sensors)


def _tolerated_j(channel: ChannelLike) -> float:
    """Joules by which a counted sensor may be off; 0 where its accuracy is unknown."""
    if not channel.counted or channel.energy_j is None or channel.tolerance is None:
        return 0.0
    return abs(channel.energy_j * channel.tolerance)


def _untold(channels: Iterable[ChannelLike]) -> tuple[str, ...]:
    """Counted channels whose own accuracy nobody has stated. Models carry theirs in the range."""
    return tuple(
        channel.id
        for channel in channels
        if channel.counted and channel.tolerance is None and channel.quality in _SENSED
    )


def _overhead_inside(channels: Iterable[ChannelLike]) -> str | None:
    """The counted channel, if any, whose reading has overhead inside already."""
    for channel in channels:
        outside = channel.scope in _OVERHEAD_SCOPES or channel.source in _OUTSIDE
        if channel.counted and outside:
            return channel.id
    return None
