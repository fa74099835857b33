"""Kilograms of a ledger's entries: at one annual factor, or each at the intensity of its hours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyprof.carbon.bounds import Term, term_from_interval
from pyprof.carbon.factor import KIND_WORDS, Factor
from pyprof.carbon.grid import Place, Resolution
from pyprof.carbon.ledger import Entry, Ledger, Timed
from pyprof.carbon.scenario import Scenario
from pyprof.errors import UnknownZoneError, UsageError

if TYPE_CHECKING:
    from pyprof.carbon.intensity import Intensity, Weighted


@dataclass(frozen=True, slots=True)
class Prices:
    """Kilograms before overhead: one per entry and the total, with what they were made from."""

    entries_kg: tuple[float | None, ...]
    total_kg: float | None
    factors: tuple[Factor, ...]
    zone: str | None
    terms: tuple[Term, ...] = ()
    place: Place | None = None
    substituted: str | None = None
    beside: Factor | None = None
    notes: tuple[str, ...] = ()


def price_entries(ledger: Ledger, scenario: Scenario, timed: Timed | None) -> Prices:
    """The prices of a ledger under a scenario."""
    series = scenario.load_intensity()
    if series is None:
        return _at_one_factor(ledger, scenario.resolve())
    if timed is None:
        raise UsageError(
            "an intensity over time needs energy over time: give a recording or its report, not "
            "a bare figure"
        )
    return _over_time(ledger, scenario, timed, series)


def _at_one_factor(ledger: Ledger, found: Resolution) -> Prices:
    """Every entry at the same factor."""
    kg_per_j = found.factor.kg_per_j
    return Prices(
        entries_kg=tuple(_at(entry.energy_j, kg_per_j) for entry in ledger.entries),
        total_kg=_at(ledger.energy_j, kg_per_j),
        factors=(found.factor,),
        zone=found.zone or None,
        place=found.place,
        substituted=found.substituted,
        beside=found.beside,
    )


def _at(energy_j: float | None, kg_per_j: float) -> float | None:
    """Kilograms; unknown stays unknown."""
    return None if energy_j is None else energy_j * kg_per_j


def _over_time(ledger: Ledger, scenario: Scenario, timed: Timed, series: Intensity) -> Prices:
    """Every entry at the mean intensity of its own hours, weighted by its energy."""
    from pyprof.carbon.intensity import weigh

    whole = weigh(timed.power_series(edges_s=series.edges_s), series)
    found = _for_the_gaps(whole, scenario, series)
    rates = [_entry_rate(entry, timed, series, whole, found) for entry in ledger.entries]
    entries_kg = tuple(
        _at(entry.energy_j, rate / 3.6e9) for entry, rate in zip(ledger.entries, rates, strict=True)
    )
    known = [kg for kg in entries_kg if kg is not None]
    total_kg = math.fsum(known) if known else _at(ledger.energy_j, _rate(whole, found) / 3.6e9)
    factors = [series.factor(_effective(total_kg, ledger, whole, found))]
    if found is not None and whole.missing_j > 0.0:
        factors.append(found.factor)
    return Prices(
        entries_kg=entries_kg,
        total_kg=total_kg if ledger.is_known else None,
        factors=tuple(factors),
        zone=series.zone or scenario.zone,
        terms=_mix_terms(whole),
        place=None if found is None else found.place,
        notes=tuple(_series_notes(scenario, series, whole, found)),
    )


def _for_the_gaps(whole: Weighted, scenario: Scenario, series: Intensity) -> Resolution | None:
    """The annual factor for hours without a value; needed only where there are some."""
    if whole.missing_j == 0.0:
        return None
    if not scenario.has_annual_factor:
        from pyprof.carbon.intensity import utc_text

        share = whole.missing_j / (whole.missing_j + whole.covered_j)
        raise UsageError(
            f"{series.source} has no value for {share:.1%} of the energy, from "
            f"{utc_text(whole.missing[0][0])}: give a zone or a factor for the gaps"
        )
    try:
        found = scenario.resolve()
    except UnknownZoneError as error:  # the provider's own word for a place
        raise UnknownZoneError(f"{series.source} has gaps, and for them: {error}") from None
    if found.factor.kind != series.kind or found.factor.signal != series.signal:
        raise UsageError(
            f"{series.source} is {series.kind} {series.signal} and the factor for its gaps is "
            f"{found.factor.kind} {found.factor.signal}: kinds are never mixed in one total, so "
            f"give a factor of the kind {series.kind!r} for the gaps"
        )
    return found


def _entry_rate(
    entry: Entry,
    timed: Timed,
    series: Intensity,
    whole: Weighted,
    found: Resolution | None,
) -> float:
    """Effective g/kWh of one entry; one without energy over time takes the run's."""
    from pyprof.carbon.intensity import weigh

    if not entry.energy_j:
        return _rate(whole, found)
    own = weigh(timed.power_series(entry.path, entry.phase, series.edges_s), series)
    return _rate(own if own.covered_j + own.missing_j > 0.0 else whole, found)


def _rate(weighted: Weighted, found: Resolution | None) -> float:
    """Effective g/kWh of covered and missing energy together."""
    energy_j = weighted.covered_j + weighted.missing_j
    if energy_j == 0.0:
        return 0.0
    annual = 0.0 if found is None else found.factor.g_per_kwh
    return (weighted.grams * 3.6e6 + weighted.missing_j * annual) / energy_j


def _effective(
    total_kg: float | None, ledger: Ledger, whole: Weighted, found: Resolution | None
) -> float:
    """The g/kWh that the covered energy was priced at; the gaps' factor stands by itself."""
    rate = whole.g_per_kwh
    if rate is not None and found is not None:
        return rate
    if total_kg is not None and ledger.energy_j:
        return total_kg / ledger.energy_j * 3.6e9
    return rate or 0.0


def _mix_terms(whole: Weighted) -> tuple[Term, ...]:
    """What an unknown share of a generation mix adds to the doubt."""
    term = term_from_interval("generation mix", whole.grams, whole.low_g, whole.high_g)
    return () if term is None else (term,)


def _series_notes(
    scenario: Scenario, series: Intensity, whole: Weighted, found: Resolution | None
) -> Iterator[str]:
    """What a reader must know of a figure that was priced over time."""
    if series.kind != scenario.kind:
        words = (KIND_WORDS[series.kind], KIND_WORDS[scenario.kind])
        yield f"{series.source} is of the kind {words[0]}, not {words[1]}"
    if series.signal == "marginal":
        yield "marginal: what changes if you act, never to be added to average figures"
    energy_j = whole.missing_j + whole.covered_j
    if whole.estimated_j > 0.0:
        share = whole.estimated_j / energy_j
        yield f"{share:.1%} of the energy is priced at values that {series.source} estimated"
    if found is not None and whole.missing_j > 0.0:
        yield (
            f"{series.source} has no value for {whole.missing_j / energy_j:.1%} of the energy: the "
            f"annual factor of {found.factor.name} ({found.factor.g_per_kwh:g} g/kWh) is used for "
            "it"
        )
