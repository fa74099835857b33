"""Energy times intensity: kilograms per stage and phase, with their choices and their bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pyprof.carbon.aside import Aside, make_aside
from pyprof.carbon.bounds import (
    ANNUAL_FACTOR,
    PUE_PROVIDER,
    PUE_SITE,
    Term,
    dominating,
    interval,
    merge_terms,
)
from pyprof.carbon.factor import USER_SOURCE, Factor
from pyprof.carbon.ledger import (
    Bin,
    Ledger,
    ReportLike,
    Timed,
    TimedReport,
    check_phase,
    join_ledgers,
    ledger_from_kwh,
    ledger_from_report,
)
from pyprof.carbon.pricing import Prices, price_entries
from pyprof.carbon.scenario import Scenario
from pyprof.carbon.units import kwh_from_j
from pyprof.errors import UsageError


@dataclass(frozen=True, slots=True)
class Footprint:
    """Operational kgCO2e, with the scenario and the factors it was made from.

    ``by_stage`` and ``by_phase`` each add up to ``kg_co2e``, which includes the PUE when one is
    given; ``energy_kwh`` is IT energy and never does.
    """

    scenario: Scenario
    zone: str | None
    factors: tuple[Factor, ...]
    pue: float | None
    energy_kwh: float | None
    kg_co2e: float | None
    low_kg: float | None
    high_kg: float | None
    by_stage: Mapping[str, float | None]
    by_phase: Mapping[str, float | None]
    terms: tuple[Term, ...]
    aside: Aside
    substituted: str | None = None
    beside: Factor | None = None
    by_quality: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def dominating(self) -> Term | None:
        """The cause that makes the interval widest."""
        return dominating(self.terms)

    @property
    def total_kg(self) -> float | None:
        """Operational carbon and the share of manufacturing, where hardware is given."""
        return None if self.kg_co2e is None else self.kg_co2e + (self.aside.embodied_kg or 0.0)

    @property
    def t_co2e(self) -> float | None:
        """The same in tonnes."""
        return None if self.kg_co2e is None else self.kg_co2e / 1000.0

    def to_dict(self) -> dict[str, Any]:
        """The ``footprint`` block of the JSON report."""
        widest = self.dominating
        return {
            "zone": self.zone,
            "factors": [factor.to_dict() for factor in self.factors],
            "pue": self.pue,
            "kg_co2e": self.kg_co2e,
            "low_kg": self.low_kg,
            "high_kg": self.high_kg,
            "by_stage": dict(self.by_stage),
            "by_phase": dict(self.by_phase),
            "energy_kwh": self.energy_kwh,
            "substituted": self.substituted,
            "beside": None if self.beside is None else self.beside.to_dict(),
            "terms": [term.to_dict() for term in self.terms],
            "dominating": None if widest is None else widest.cause,
            "total_kg": self.total_kg,
            **self.aside.to_dict(),
            "notes": list(self.notes),
            "scenario": self.scenario.to_dict(),
        }


def account(report: ReportLike, scenario: Scenario) -> Footprint:
    """The footprint of an energy report; without a zone or a factor it is refused."""
    timed = report if isinstance(report, TimedReport) else None
    return price(ledger_from_report(report), scenario, timed)


def footprint(
    energy: Mapping[str, Any] | ReportLike | None = None,
    scenario: Scenario | None = None,
    *,
    energy_kwh: Mapping[str, float] | None = None,
    begun_s: float | None = None,
) -> Footprint:
    """The footprint of kWh figures per phase, of a report, or of reports per phase.

    A bare mapping's numbers are kilowatt-hours, and so is ``energy_kwh``; a mapping's values may
    also be reports, recordings or lists of them, which then belong to that phase as a whole.
    ``begun_s`` prices the hours as if the first of it had begun then, seconds of Unix time.
    """
    if (energy is None) == (energy_kwh is None):
        raise UsageError("give the energy once: as the first argument or as energy_kwh")
    parts = _parts(energy if energy_kwh is None else energy_kwh, None)
    timed = _hours(parts)
    if begun_s is not None:
        from pyprof.carbon.intensity import begun_at

        if timed is None:
            raise UsageError("a bare figure has no hours that could be moved to another time")
        timed = begun_at(timed, begun_s)
    return price(_ledger(parts), scenario or Scenario(), timed)


def ledger_of(energy: object) -> Ledger:
    """The ledger of anything that holds energy."""
    return _ledger(_parts(energy, None))


#: A figure in kWh, or a report, and the phase that it belongs to as a whole.
_Part = tuple[str | None, Any]


def _parts(value: object, phase: str | None) -> list[_Part]:
    """Every figure and report in ``value``; recordings are asked for their report once."""
    if isinstance(value, Mapping) and phase is None:
        items = [(check_phase(name), each) for name, each in value.items()]
        return [part for name, each in items for part in _parts(each, name)]
    if isinstance(value, (list, tuple)):
        return [part for each in value for part in _parts(each, phase)]
    report = _report_of(value)
    if report is None and (phase is None or isinstance(value, (str, Mapping))):
        raise UsageError(
            f"energy can't be taken from {value!r}: give kWh per phase, such as "
            "{'training': 433196.0}, or a report, such as pyprof.load('run.pyprof').report()"
        )
    return [(phase, value if report is None else report)]


def _ledger(parts: Sequence[_Part]) -> Ledger:
    """The ledger of all parts."""
    if not parts:
        return ledger_from_kwh({})
    return join_ledgers(
        ledger_from_report(value, phase)
        if hasattr(value, "stage_rows")
        else ledger_from_kwh({str(phase): value})
        for phase, value in parts
    )


def _hours(parts: Sequence[_Part]) -> Timed | None:
    """When the energy of all parts was used; None where a part can't say."""
    if any(not isinstance(value, TimedReport) for _, value in parts):
        return None
    return JoinedHours(tuple(parts))


@dataclass(frozen=True, slots=True)
class JoinedHours:
    """When the energy of several reports was used, each in its own phases or in one."""

    parts: tuple[_Part, ...]

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[Bin]:
        """Bins of all reports, or of what is the own of one row."""
        return [
            each
            for whole, report in self.parts
            if path is None or whole in (None, phase)
            for each in report.power_series(path, phase if whole is None else None, edges_s)
        ]


def _report_of(value: Any) -> ReportLike | None:
    """``value`` if it is a report, or the report of a recording."""
    report = value.report() if hasattr(value, "report") else value
    return cast(ReportLike, report) if hasattr(report, "stage_rows") else None


def price(ledger: Ledger, scenario: Scenario, timed: Timed | None = None) -> Footprint:
    """A ledger at the factor of a scenario, or at the intensity of each hour of ``timed``."""
    refuse_overhead_twice(ledger, scenario)
    prices = price_entries(ledger, scenario, timed)
    overhead = scenario.pue_multiplier
    entries_kg = [_times(kg, overhead) for kg in prices.entries_kg]
    kg = _times(prices.total_kg, overhead)
    terms = merge_terms([*ledger.terms, *prices.terms, *_account_terms(scenario, prices)])
    low, high = (None, None) if kg is None else interval(kg, terms)
    it_kwh = _it_kwh(ledger, scenario)
    all_kwh = None if ledger.energy_j is None else kwh_from_j(ledger.energy_j) * overhead
    return Footprint(
        scenario=scenario,
        zone=prices.zone,
        factors=prices.factors,
        pue=scenario.pue,
        energy_kwh=it_kwh,
        kg_co2e=kg,
        low_kg=low,
        high_kg=high,
        by_stage=_sum_by((entry.path for entry in ledger.entries), entries_kg),
        by_phase=_sum_by((entry.phase for entry in ledger.entries), entries_kg),
        terms=terms,
        aside=make_aside(scenario, it_kwh, all_kwh, kg),
        substituted=prices.substituted,
        beside=prices.beside,
        by_quality=ledger.by_quality,
        notes=_notes(ledger, scenario, prices),
    )


def _it_kwh(ledger: Ledger, scenario: Scenario) -> float | None:
    """IT energy: what was given, without the overhead that is known to be inside."""
    if ledger.energy_j is None:
        return None
    inside = scenario.pue if scenario.energy_includes_pue and scenario.pue else 1.0
    return kwh_from_j(ledger.energy_j) / inside


def refuse_overhead_twice(ledger: Ledger, scenario: Scenario) -> None:
    """A wall reading has the node's overhead inside: a PUE on top would count it twice."""
    if ledger.overhead_inside and scenario.pue_multiplier > 1.0:
        raise UsageError(
            f"the channel {ledger.overhead_inside!r} is read at the wall, which has overhead "
            "inside already: leave pue out, or set energy_includes_pue"
        )


def _account_terms(scenario: Scenario, prices: Prices) -> Iterable[Term]:
    """What the accounting itself adds to the doubt. A stated factor is taken at its word."""
    if any(factor.source != USER_SOURCE for factor in prices.factors):
        yield Term("grid factor", ANNUAL_FACTOR, ANNUAL_FACTOR)
    multiplier = scenario.pue_multiplier
    if multiplier > 1.0:
        place = prices.place
        is_mean = place is not None and place.pue == multiplier
        doubt = PUE_PROVIDER if is_mean else PUE_SITE
        # A facility never saves energy, so the lower side ends where the PUE is 1.
        yield Term("pue", min(doubt, 1.0 - 1.0 / multiplier), doubt)


def _times(amount: float | None, by: float) -> float | None:
    """A product; unknown stays unknown."""
    return None if amount is None else amount * by


def _sum_by(names: Iterable[str], kilograms: Iterable[float | None]) -> dict[str, float | None]:
    """Kilograms by name; a name with no known energy at all is None, not 0."""
    sums: dict[str, list[float]] = {}
    for name, kg in zip(names, kilograms, strict=True):
        known = sums.setdefault(name, [])
        if kg is not None:
            known.append(kg)
    return {name: math.fsum(known) if known else None for name, known in sums.items()}


def _notes(ledger: Ledger, scenario: Scenario, prices: Prices) -> tuple[str, ...]:
    """What a reader of the figure must know, one sentence each."""
    return tuple(
        note
        for note in (
            _pue_note(scenario, prices),
            _unmeasured_note(ledger),
            _untold_note(ledger),
            *(holding.said or "" for holding in scenario.embodied),
            *prices.notes,
            *(warning for factor in prices.factors for warning in factor.warnings()),
        )
        if note
    )


def _pue_note(scenario: Scenario, prices: Prices) -> str:
    """Whether the overhead of the facility is in the figure."""
    if scenario.energy_includes_pue:
        return "facility overhead is inside the energy given; no PUE was applied"
    if scenario.pue is not None:
        return f"facility overhead included: PUE {scenario.pue:g}, as given"
    place = prices.place
    if place is not None and place.pue is not None:
        return (
            "facility overhead not included: no PUE given "
            f"(the provider states {place.pue:g}: {place.pue_basis})"
        )
    return "facility overhead not included: no PUE given"


def _unmeasured_note(ledger: Ledger) -> str:
    """What is present but has no energy figure."""
    if not ledger.unmeasured:
        return ""
    return f"not in the figure, because unmeasured: {', '.join(ledger.unmeasured)}"


def _untold_note(ledger: Ledger) -> str:
    """Whose accuracy is unknown, so that the interval can't hold it."""
    if not ledger.untold:
        return ""
    return f"not in the interval, because the tolerance is unknown: {', '.join(ledger.untold)}"
