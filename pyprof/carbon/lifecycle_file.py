"""Reading a life-cycle file: recordings, published energies, projections and hardware as rows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyprof.carbon.bounds import Term, term_from_interval
from pyprof.carbon.embodied import Holding, read_holding
from pyprof.carbon.footprint import Footprint, footprint, price
from pyprof.carbon.ledger import (
    ENERGY_PHASES,
    Bin,
    Entry,
    Ledger,
    ReportLike,
    Timed,
    TimedReport,
    check_phase,
    ledger_from_report,
)
from pyprof.carbon.lifecycle import EMBODIED, LifeCycle, PhaseRow, add_up
from pyprof.carbon.scenario import Scenario, scenario_from_section
from pyprof.carbon.toml import Section, check_schema, read_toml
from pyprof.carbon.units import j_from_kwh
from pyprof.errors import UnknownZoneError, UsageError

QUALITIES = ("measured", "modelled", "assumed")
# Energy that a counter, or a power reading, gave; stated energies are what their author says.
_AS_MEASURED = ("measured", "derived")
# Hours times design power: a published 18-day log read 26 % of it on average.
_DESIGN_POWER = (Term("design power", 0.75, 0.10),)

Load = Callable[[str], ReportLike]


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
        days = section.number("days", above=True)
        scenario = self._scenario(section)
        section.finish()
        report = self._open(section, recording)
        label = name or os.path.basename(recording)
        phases = [phase] if phase else sorted({row.phase for row in report.stage_rows})
        rows = []
        for part in phases:
            priced = _price_part(report, part, phase is not None, scenario, section.where)
            rows.append(_row(part, label, priced, _qualities_of(priced), source or recording))
        return [replace(row, requests=requests, days=days) for row in rows]

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
        if whole:
            return footprint({phase: report}, scenario)
        part = _part(ledger_from_report(report), phase)
        timed = report if isinstance(report, TimedReport) else None
        hours = None if timed is None else _OfPhase(timed, part.entries)
        return price(part, scenario, hours)
    except (UsageError, UnknownZoneError) as error:
        raise type(error)(f"{where}: {error}") from None


@dataclass(frozen=True, slots=True)
class _OfPhase:
    """When the energy of some rows was used, and of no other."""

    timed: Timed
    entries: tuple[Entry, ...]

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[Bin]:
        """Bins of all these rows, or of one."""
        return [
            each
            for entry in self.entries
            if path in (None, entry.path)
            for each in self.timed.power_series(entry.path, entry.phase, edges_s)
        ]


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
