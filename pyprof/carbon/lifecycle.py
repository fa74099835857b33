"""The life cycle of a model: manufacturing, idle, development, training and use in one account.

Rows come from recordings, published energies and projections; each keeps its own choices. Two
columns are kept, location- and market-based, and are never netted. What training costs per
request stands beside the cost of a request and is not added to it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from pyprof.carbon.footprint import Footprint, account, price
from pyprof.carbon.ledger import (
    ENERGY_PHASES,
    Entry,
    Ledger,
    ReportLike,
    check_phase,
    ledger_from_report,
)
from pyprof.carbon.scenario import Scenario, scenario_from_section
from pyprof.carbon.toml import Section, check_schema, read_toml
from pyprof.carbon.units import j_from_kwh
from pyprof.errors import NotComparableError, UnknownZoneError, UsageError

EMBODIED = "embodied"
PHASES = (EMBODIED, "infrastructure", "idle", "development", "training", "deployment")
QUALITIES = ("measured", "modelled", "assumed")
# Energy that a counter, or a power reading, gave; stated energies are what their author says.
_AS_MEASURED = ("measured", "derived")

# Hours times design power: a published 18-day log read 26 % of it on average.
_DESIGN_POWER = (Term("design power", 0.75, 0.10),)

Load = Callable[[str], ReportLike]


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


def life_cycle(path: str, load: Load | None = None) -> LifeCycle:
    """The account that a life-cycle file describes; ``load`` opens the recordings it names."""
    return life_cycle_from(read_toml(path), path, load)


def life_cycle_from(table: Mapping[str, Any], where: str, load: Load | None = None) -> LifeCycle:
    """The account that a document describes; ``where`` is its path."""
    check_schema(table, where)
    document = Section(table, where)
    document.get("schema")
    name = document.text("name") or os.path.basename(where)
    source, excluded = document.text("source"), document.texts("excluded")
    published = document.texts("published")
    folder = os.path.dirname(where)
    shared = document.section("scenario")
    base = Scenario() if shared is None else scenario_from_section(shared, folder=folder)
    if shared is not None:
        shared.finish()
    phases = document.sections("phase")
    held = [_embodied_row(section, base) for section in document.sections("embodied")]
    document.finish()
    reader = _RowReader(base, folder, load)
    rows = [row for section in phases for row in reader.read(section)]
    rows.extend(held)
    rows.extend(_held_row(holding, None, base) for holding in base.embodied)
    if not rows:
        raise UsageError(f"{where}: no [[phase]] and no [[embodied]] in it")
    return add_up(name, rows, excluded=excluded, published=published, source=source)


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


class _RowReader:
    """Reads ``[[phase]]`` tables, so that no recording is counted twice."""

    def __init__(self, base: Scenario, folder: str, load: Load | None) -> None:
        self._base = replace(base, embodied=())
        self._folder = folder
        self._load = load
        self._seen: dict[str, str] = {}

    def read(self, section: Section) -> list[PhaseRow]:
        """The rows of one table: one, or one per phase of a recording."""
        phase, name = section.text("phase"), section.text("name")
        source = section.text("source")
        if phase == EMBODIED:
            raise UsageError(f"{section.where}: manufacturing is written as [[embodied]]")
        if phase is not None:
            _check_phase(phase, section.where)
        recording = section.text("recording")
        if recording is not None:
            return self._from_recording(section, recording, phase, name, source)
        if phase is None:
            raise UsageError(f"{section.where}: phase is missing: {', '.join(ENERGY_PHASES)}")
        return [self._from_figures(section, phase, name or phase, source)]

    def _from_figures(
        self, section: Section, phase: str, name: str, source: str | None
    ) -> PhaseRow:
        """A row from a stated energy or a projection."""
        stated = _read_energy(section)
        scenario = self._scenario(section)
        section.finish()
        energy_j = j_from_kwh(stated.kwh)
        ledger = Ledger(
            energy_j,
            (Entry(name, phase, energy_j),),
            terms=stated.terms,
            by_quality=((stated.quality, energy_j),),
        )
        priced = _price(ledger, scenario, section.where)
        return replace(
            _row(phase, name, priced, {stated.quality: priced.kg_co2e or 0.0}, source),
            requests=stated.requests,
            requests_per_day=stated.requests_per_day,
            days=stated.days,
        )

    def _from_recording(
        self,
        section: Section,
        recording: str,
        phase: str | None,
        name: str | None,
        source: str | None,
    ) -> list[PhaseRow]:
        """The rows of a recording: one phase, or those of its own stages."""
        requests = section.number("requests", above=True)
        scenario = self._scenario(section)
        section.finish()
        report = self._open(section, recording)
        label = name or os.path.basename(recording)
        phases = [phase] if phase else sorted({row.phase for row in report.stage_rows})
        rows = []
        for part in phases:
            priced = _price_part(report, part, phase is not None, scenario, section.where)
            rows.append(_row(part, label, priced, _qualities_of(priced), source or recording))
        return [replace(row, requests=requests) for row in rows]

    def _open(self, section: Section, recording: str) -> ReportLike:
        """The report of a recording that was not named before."""
        path = os.path.join(self._folder, recording)
        real = os.path.realpath(path)
        if real in self._seen:
            raise UsageError(
                f"{section.where}: {recording!r} is already counted in {self._seen[real]}"
            )
        self._seen[real] = section.where
        if self._load is None:
            raise UsageError(f"{section.where}: recordings can't be opened here: {recording!r}")
        return self._load(path)

    def _scenario(self, section: Section) -> Scenario:
        """The row's own choices over the shared ones."""
        return scenario_from_section(section, self._base, folder=self._folder)


@dataclass(frozen=True, slots=True)
class _Stated:
    """An energy as a file states it."""

    kwh: float
    quality: str
    terms: tuple[Term, ...]
    requests: float | None
    requests_per_day: float | None
    days: float | None


def _read_energy(section: Section) -> _Stated:
    """Exactly one of the ways to state an energy."""
    kwh, hours = section.number("energy_kwh"), section.number("gpu_hours")
    each = section.number("wh_per_request")
    watts = section.number("gpu_watts")
    daily = section.number("requests_per_day", above=True)
    days = section.number("days", above=True)
    requests = section.number("requests", above=True)
    quality = section.text("quality")
    if quality is not None and quality not in QUALITIES:
        raise UsageError(f"{section.where}: quality must be one of {', '.join(QUALITIES)}")
    if sum(value is not None for value in (kwh, hours, each)) != 1:
        raise UsageError(
            f"{section.where}: give one of recording, energy_kwh, gpu_hours with gpu_watts, or "
            "wh_per_request with requests or with requests_per_day and days"
        )
    if requests is None and daily is not None and days is not None:
        requests = daily * days
    if each is not None:
        if requests is None:
            raise UsageError(f"{section.where}: requests, or requests_per_day and days, is missing")
        kwh = each * requests / 1000.0
    elif hours is not None:
        if watts is None:
            raise UsageError(f"{section.where}: gpu_watts is missing")
        kwh = hours * watts / 1000.0
    energy = kwh or 0.0
    usual = "modelled" if hours is not None else "assumed"
    terms = _stated_terms(section, energy) or (_DESIGN_POWER if hours is not None else ())
    return _Stated(energy, quality or usual, terms, requests, daily, days)


def _stated_terms(section: Section, kwh: float) -> tuple[Term, ...]:
    """The interval that a file gives for its energy."""
    low, high = section.number("low_kwh"), section.number("high_kwh")
    if low is None and high is None:
        return ()
    low, high = (kwh if low is None else low), (kwh if high is None else high)
    if not low <= kwh <= high:
        raise UsageError(f"{section.where}: low_kwh <= energy <= high_kwh does not hold")
    term = term_from_interval("stated energy", kwh, low, high)
    return () if term is None else (term,)


def _check_phase(phase: str, where: str) -> None:
    """A phase that energy can belong to, or a refusal with the place."""
    try:
        check_phase(phase)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _price(ledger: Ledger, scenario: Scenario, where: str) -> Footprint:
    """A footprint, with the place in the file where it can't be had."""
    if not scenario.has_place:
        raise UsageError(f"{where}: no place is set: write zone = 'FR' in it or under [scenario]")
    try:
        return price(ledger, scenario)
    except (UsageError, UnknownZoneError) as error:
        raise type(error)(f"{where}: {error}") from None


def _price_part(
    report: ReportLike, phase: str, whole: bool, scenario: Scenario, where: str
) -> Footprint:
    """The footprint of a whole recording, or of its stages of one phase."""
    try:
        if scenario.intensity is not None:
            return _only(account(report, scenario), phase, whole)
        ledger = ledger_from_report(report, phase if whole else None)
        return price(ledger if whole else _part(ledger, phase), scenario)
    except (UsageError, UnknownZoneError) as error:
        raise type(error)(f"{where}: {error}") from None


def _only(priced: Footprint, phase: str, whole: bool) -> Footprint:
    """A footprint reduced to one phase."""
    if whole or not priced.kg_co2e:
        return priced
    kg = priced.by_phase.get(phase)
    share = (kg or 0.0) / priced.kg_co2e
    return replace(
        priced,
        kg_co2e=kg,
        energy_kwh=None if priced.energy_kwh is None else priced.energy_kwh * share,
        low_kg=None if priced.low_kg is None else priced.low_kg * share,
        high_kg=None if priced.high_kg is None else priced.high_kg * share,
        by_phase={phase: kg},
    )


def _part(ledger: Ledger, phase: str) -> Ledger:
    """The entries of one phase; what is unsure of the whole is as unsure of the part."""
    entries = tuple(entry for entry in ledger.entries if entry.phase == phase)
    known = [entry.energy_j for entry in entries if entry.energy_j is not None]
    energy_j = math.fsum(known) if known else None
    share = (energy_j or 0.0) / ledger.energy_j if ledger.energy_j else 0.0
    qualities = tuple((name, joules * share) for name, joules in ledger.by_quality)
    return replace(ledger, energy_j=energy_j, entries=entries, by_quality=qualities)


def _row(
    phase: str,
    name: str,
    priced: Footprint,
    by_quality: Mapping[str, float],
    source: str | None,
) -> PhaseRow:
    """A priced row."""
    return PhaseRow(
        phase=phase,
        name=name,
        energy_kwh=priced.energy_kwh,
        kg_co2e=priced.kg_co2e,
        low_kg=priced.low_kg,
        high_kg=priced.high_kg,
        market_kg=priced.aside.market_kg,
        by_quality=by_quality,
        terms=priced.terms,
        source=source,
        footprint=priced,
    )


def _qualities_of(priced: Footprint) -> dict[str, float]:
    """Kilograms by how the energy is known."""
    whole = math.fsum(energy_j for _, energy_j in priced.by_quality)
    sums: dict[str, float] = {}
    for name, energy_j in priced.by_quality:
        quality = "measured" if name in _AS_MEASURED else "modelled"
        kg = (priced.kg_co2e or 0.0) * energy_j / whole if whole else 0.0
        sums[quality] = sums.get(quality, 0.0) + kg
    return sums


def _embodied_row(section: Section, base: Scenario) -> PhaseRow:
    """One ``[[embodied]]`` table."""
    from pyprof.carbon.embodied import read_holding

    source = section.text("source")
    return _held_row(read_holding(section), source, base)


def _held_row(holding: Holding, source: str | None, base: Scenario) -> PhaseRow:
    """Hardware held. Manufacturing is the same in both columns: contracts don't change it."""
    kg = holding.kg_co2e
    term = term_from_interval("manufacturing", kg, holding.low_kg, holding.high_kg)
    return PhaseRow(
        phase=EMBODIED,
        name=holding.label,
        energy_kwh=None,
        kg_co2e=kg,
        low_kg=holding.low_kg,
        high_kg=holding.high_kg,
        market_kg=kg,
        by_quality={"assumed" if holding.component.basis == "stated" else "modelled": kg},
        terms=() if term is None else (term,),
        source=source or holding.component.source,
        holding=holding,
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
