"""The life cycle of a model: manufacturing, idle, development, training and use in one account.

Rows come from recordings, published energies and projections; each keeps its own choices. Two
columns are kept, location- and market-based, and are never netted. What training costs per
request stands beside the cost of a request and is not added to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyprof.carbon.bounds import (
    Term,
    dominating,
    interval,
    merge_terms,
    scale_term,
    sum_intervals,
    term_from_interval,
)
from pyprof.carbon.embodied import Holding
from pyprof.carbon.footprint import Footprint
from pyprof.errors import NotComparableError

EMBODIED = "embodied"
PHASES = (EMBODIED, "infrastructure", "idle", "development", "training", "deployment")


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One row of the account: a phase, what it is and what it emits."""

    phase: str
    name: str
    energy_kwh: float | None
    kg_co2e: float | None
    low_kg: float | None
    high_kg: float | None
    market_kg: float | None
    by_quality: Mapping[str, float]
    terms: tuple[Term, ...]
    source: str | None = None
    requests: float | None = None
    requests_per_day: float | None = None
    days: float | None = None
    footprint: Footprint | None = None
    holding: Holding | None = None

    @property
    def all_kwh(self) -> float | None:
        """Energy with the overhead that the row includes."""
        if self.footprint is None or self.energy_kwh is None:
            return None
        scenario = self.footprint.scenario
        inside = scenario.pue if scenario.energy_includes_pue and scenario.pue else 1.0
        return self.energy_kwh * scenario.pue_multiplier * inside

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {
            "phase": self.phase,
            "name": self.name,
            "energy_kwh": self.energy_kwh,
            "location_kg": self.kg_co2e,
            "low_kg": self.low_kg,
            "high_kg": self.high_kg,
            "market_kg": self.market_kg,
            "by_quality_kg": dict(self.by_quality),
            "source": self.source,
            "requests": self.requests,
            "days": self.days,
            "footprint": None if self.footprint is None else self.footprint.to_dict(),
            "embodied": None if self.holding is None else self.holding.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Use:
    """What one request costs, and what making the model costs beside it."""

    requests: float
    requests_per_day: float | None
    wh_per_request: float
    g_per_request: float
    making_kwh: float | None
    making_kg: float | None
    making_g_per_request: float | None
    break_even_requests: float | None
    break_even_days: float | None
    parity_requests: float | None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """The whole account. ``kg_co2e`` is location-based."""

    name: str
    rows: tuple[PhaseRow, ...]
    kg_co2e: float
    low_kg: float
    high_kg: float
    market_kg: float | None
    by_phase: Mapping[str, float]
    by_quality: Mapping[str, float]
    terms: tuple[Term, ...]
    use: Use | None
    excluded: tuple[str, ...]
    notes: tuple[str, ...]
    published: tuple[str, ...] = ()
    source: str | None = None

    @property
    def deployment_kg_per_day(self) -> float | None:
        """Use per day; None unless every deployment row says over how many days it goes."""
        used = [row for row in self.rows if row.phase == "deployment"]
        if not used or any(not row.days or row.kg_co2e is None for row in used):
            return None
        return math.fsum((row.kg_co2e or 0.0) / (row.days or 1.0) for row in used)

    @property
    def dominating(self) -> Term | None:
        """The cause that makes the interval widest."""
        return dominating(self.terms)

    def to_dict(self) -> dict[str, Any]:
        """The account as JSON values."""
        widest = self.dominating
        return {
            "schema": "pyprof.lifecycle/1",
            "name": self.name,
            "source": self.source,
            "rows": [row.to_dict() for row in self.rows],
            "kg_co2e": self.kg_co2e,
            "low_kg": self.low_kg,
            "high_kg": self.high_kg,
            "market_kg": self.market_kg,
            "by_phase": dict(self.by_phase),
            "by_quality_kg": dict(self.by_quality),
            "terms": [term.to_dict() for term in self.terms],
            "dominating": None if widest is None else widest.cause,
            "use": None if self.use is None else self.use.to_dict(),
            "deployment_kg_per_day": self.deployment_kg_per_day,
            "published": list(self.published),
            "excluded": list(self.excluded),
            "notes": list(self.notes),
        }


def add_up(
    name: str,
    rows: Iterable[PhaseRow],
    *,
    excluded: Sequence[str] = (),
    published: Sequence[str] = (),
    source: str | None = None,
) -> LifeCycle:
    """Rows as one account; kinds of factors are never mixed in it."""
    ordered = tuple(sorted(rows, key=lambda row: PHASES.index(row.phase)))
    _refuse_mixed_kinds(ordered)
    known = [row for row in ordered if row.kg_co2e is not None]
    total = math.fsum(row.kg_co2e or 0.0 for row in known)
    terms = _joint_terms(known, total)
    low, high = interval(total, terms)
    return LifeCycle(
        name=name,
        rows=ordered,
        kg_co2e=total,
        low_kg=low,
        high_kg=high,
        market_kg=_market_total(ordered),
        by_phase=_sum_phases(known),
        by_quality=_sum_qualities(known),
        terms=terms,
        use=_use(ordered),
        excluded=tuple(excluded),
        notes=_notes(ordered),
        published=tuple(published),
        source=source,
    )


def _refuse_mixed_kinds(rows: Iterable[PhaseRow]) -> None:
    """Life-cycle and direct, average and marginal: never in one total."""
    kinds: dict[tuple[str, str], str] = {}
    for row in rows:
        for factor in () if row.footprint is None else row.footprint.factors:
            kinds.setdefault((factor.kind, factor.signal), row.name)
    if len(kinds) > 1:
        said = " and ".join(f"{kind} {signal} ({n})" for (kind, signal), n in kinds.items())
        raise NotComparableError(
            f"kinds of factors are never mixed in one total: {said}; ask for one kind in all rows"
        )


def _joint_terms(rows: Sequence[PhaseRow], total: float) -> tuple[Term, ...]:
    """Terms of all rows, each by its share; manufacturing rows err apart from each other."""
    if total <= 0.0:
        return ()
    priced = [row for row in rows if row.phase != EMBODIED]
    terms = [scale_term(term, (row.kg_co2e or 0.0) / total) for row in priced for term in row.terms]
    held = [row for row in rows if row.phase == EMBODIED]
    parts = [(row.kg_co2e or 0.0, row.low_kg or 0.0, row.high_kg or 0.0) for row in held]
    made, low, high = sum_intervals(parts)
    term = term_from_interval("manufacturing", made, low, high)
    if term is not None:
        terms.append(scale_term(term, made / total))
    return merge_terms(terms)


def _market_total(rows: Sequence[PhaseRow]) -> float | None:
    """The market-based column; unknown where any row's contracts are unknown."""
    if not any(row.market_kg is not None and row.phase != EMBODIED for row in rows):
        return None
    if any(row.market_kg is None for row in rows):
        return None
    return math.fsum(row.market_kg or 0.0 for row in rows)


def _sum_phases(rows: Iterable[PhaseRow]) -> dict[str, float]:
    """Kilograms by phase."""
    sums: dict[str, float] = {}
    for row in rows:
        sums[row.phase] = sums.get(row.phase, 0.0) + (row.kg_co2e or 0.0)
    return sums


def _sum_qualities(rows: Iterable[PhaseRow]) -> dict[str, float]:
    """Kilograms by how they are known."""
    sums: dict[str, float] = {}
    for row in rows:
        for name, kg in row.by_quality.items():
            sums[name] = sums.get(name, 0.0) + kg
    return sums


def _use(rows: Sequence[PhaseRow]) -> Use | None:
    """Per request, where deployment rows say how many there were."""
    used = [row for row in rows if row.phase == "deployment"]
    if not any(row.requests for row in used):
        return None
    if any(row.kg_co2e is None or row.all_kwh is None for row in used):
        return None
    made = [row for row in rows if row.phase != "deployment"]
    requests = math.fsum(row.requests or 0.0 for row in used)
    kwh = math.fsum(row.all_kwh or 0.0 for row in used)
    kg = math.fsum(row.kg_co2e or 0.0 for row in used)
    making_kg = math.fsum(row.kg_co2e or 0.0 for row in made)
    energies = [row.all_kwh for row in made if row.phase != EMBODIED]
    making_kwh = math.fsum(energy or 0.0 for energy in energies) if energies else None
    daily = [row.requests_per_day for row in used if row.requests_per_day]
    break_even = making_kg / (kg / requests) if made and kg > 0.0 else None
    return Use(
        requests=requests,
        requests_per_day=math.fsum(daily) if daily else None,
        wh_per_request=1000.0 * kwh / requests,
        g_per_request=1000.0 * kg / requests,
        making_kwh=making_kwh,
        making_kg=making_kg if made else None,
        making_g_per_request=1000.0 * making_kg / requests if made else None,
        break_even_requests=break_even,
        break_even_days=break_even / math.fsum(daily) if daily and break_even else None,
        parity_requests=making_kwh / (kwh / requests) if making_kwh and kwh > 0.0 else None,
    )


def _overhead_note(rows: Sequence[PhaseRow]) -> str:
    """A measured idle or infrastructure row and a PUE can be two answers to one question."""
    has_row = any(row.phase in ("idle", "infrastructure") for row in rows)
    priced = [row.footprint for row in rows if row.footprint is not None]
    if has_row and any(each.scenario.pue_multiplier > 1.0 for each in priced):
        return "an idle or infrastructure row and a PUE: make sure they are not the same energy"
    return ""


def _notes(rows: Sequence[PhaseRow]) -> tuple[str, ...]:
    """What a reader must know, each sentence once, with the rows it is about."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        said = () if row.footprint is None else _said(row.footprint)
        held = () if row.holding is None or row.holding.said is None else (row.holding.said,)
        for note in (*said, *held):
            notes.setdefault(note, []).append(row.name)
        if row.kg_co2e is None:
            notes.setdefault("energy unknown: not in the total", []).append(row.name)
    twice = _overhead_note(rows)
    if twice:
        notes.setdefault(twice, []).append("overhead")
    return tuple(f"{'; '.join(dict.fromkeys(names))}: {note}" for note, names in notes.items())


def _said(priced: Footprint) -> tuple[str, ...]:
    """The notes of a footprint, and its substitution."""
    substituted = () if priced.substituted is None else (priced.substituted,)
    return (*substituted, *priced.notes)
