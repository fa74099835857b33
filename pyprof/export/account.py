"""Footprints, zones and equivalents as lines of text, each within the width of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pyprof.export.figure import cell, energy_scale, mass, mass_alone
from pyprof.export.lines import wrap
from pyprof.export.table import Column, draw
from pyprof.export.terminal import clean

if TYPE_CHECKING:
    from pyprof.carbon import Footprint, ZoneRow
    from pyprof.carbon.embodied import Holding
    from pyprof.carbon.equivalents import Equivalent
    from pyprof.carbon.intensity import Shift

_LABEL_WIDTH = 12
# Nobody knows what a thousandth of a flight is.
LEAST_COUNT = 0.1


def entry(label: str, text: str, width: int) -> list[str]:
    """A label in the margin, and text beside it broken to the width."""
    return wrap(clean(text), f"{label:<{_LABEL_WIDTH}}", " " * _LABEL_WIDTH, width)


def footprint_lines(priced: Footprint, width: int) -> Iterator[str]:
    """A footprint with everything it rests on."""
    energy_j = None if priced.energy_kwh is None else priced.energy_kwh * 3.6e6
    scale = energy_scale(energy_j)
    yield from entry("carbon", mass(priced.kg_co2e, priced.low_kg, priced.high_kg), width)
    yield from entry("energy", f"{cell(energy_j, None, scale)} {scale.unit} (IT energy)", width)
    for factor in priced.factors:
        yield from entry("factor", factor.describe(), width)
    if priced.beside is not None:
        yield from entry("beside it", f"in no total: {priced.beside.describe()}", width)
    if priced.dominating is not None:
        widest = priced.dominating
        words = f"most of all {widest.cause} (-{widest.below:.0%} +{widest.above:.0%})"
        yield from entry("unsure", words, width)
    if len(priced.by_phase) > 1:
        yield from (f"  {phase:<14}{words}" for phase, words in _phases(priced))
    for label, words in _aside(priced):
        yield from entry(label, words, width)
    for holding in priced.aside.embodied:
        yield from wrap(clean(_held(holding)), "  ", "    ", width)
    said = () if priced.substituted is None else (priced.substituted,)
    for note in (*said, *priced.notes):
        yield from entry("note", note, width)


def _phases(priced: Footprint) -> Iterator[tuple[str, str]]:
    """Each phase, as unsure as the whole."""
    for phase, kg in priced.by_phase.items():
        share = (kg or 0.0) / priced.kg_co2e if priced.kg_co2e else 0.0
        ends = (None if end is None else end * share for end in (priced.low_kg, priced.high_kg))
        yield phase, mass_alone(kg, *ends)


def _aside(priced: Footprint) -> Iterator[tuple[str, str]]:
    """What stands beside the total, as far as it was asked for."""
    aside, scenario = priced.aside, priced.scenario
    if aside.market_kg is not None:
        source = scenario.market_source or "source not stated"
        yield "market", f"{mass(aside.market_kg)} by contract ({source})"
    if aside.losses_kg is not None:
        yield "losses", f"{mass(aside.losses_kg)} lost in the grid (scope 3)"
    if aside.idle_kg is not None:
        yield "idle", f"{mass(aside.idle_kg)} of the carbon while idle"
    if aside.water_on_site_l is not None:
        yield "water", f"{aside.water_on_site_l:.4g} L on site"
    if aside.water_off_site_l is not None:
        yield "water", f"{aside.water_off_site_l:.4g} L off site, not added to the other"
    if aside.cost is not None:
        yield "price", f"{aside.cost:.4g} {aside.currency}"
    if aside.kg_per_unit is not None:
        yield "per unit", f"{mass(aside.kg_per_unit)} a {scenario.functional_unit or 'unit'}"
    if aside.embodied_kg is not None:
        whole = mass(aside.embodied_kg, aside.embodied_low_kg, aside.embodied_high_kg)
        yield "hardware", f"{whole} of its manufacturing, not in the total above"


def _held(holding: Holding) -> str:
    """A piece of hardware with every choice that was made for it."""
    return (
        f"{holding.label}: {holding.component.kg_co2e:g} kg ({holding.component.basis}), "
        f"{holding.hours:g} h {holding.clock}, {holding.lifetime_years:g} years at "
        f"{holding.utilisation:g}, share {holding.share:g}"
    )


def zone_lines(rows: Sequence[ZoneRow], width: int) -> Iterator[str]:
    """The same energy in several zones, in the order asked, of one kind only."""
    columns = (Column("zone"), Column("carbon"), Column("g/kWh"), Column("factor of", right=False))
    cells = []
    for row in rows:
        factor = None if row.resolution is None else row.resolution.factor
        cells.append(
            (
                f"{row.zone} {row.name or ''}".strip(),
                mass_alone(row.kg_co2e, row.low_kg, row.high_kg),
                "" if factor is None else f"{factor.g_per_kwh:g}",
                "" if factor is None else f"{factor.zone} {factor.year}, {factor.kind}",
            )
        )
    yield from draw(columns, cells, width)
    yield from _ratio_lines(rows, width)
    for row in rows:
        said = row.refused or (None if row.resolution is None else row.resolution.substituted)
        if said:
            yield from entry("note", said, width)
        if row.resolution is not None and row.resolution.beside is not None:
            words = f"in no total: {row.resolution.beside.describe()}"
            yield from entry("beside it", words, width)


def _ratio_lines(rows: Sequence[ZoneRow], width: int) -> Iterator[str]:
    """How far the cleanest and the dirtiest of the zones are apart."""
    known = sorted((row.kg_co2e, row.zone) for row in rows if row.kg_co2e)
    if len(known) > 1:
        (low, cleanest), (high, dirtiest) = known[0], known[-1]
        words = f"{dirtiest} emits {high / low:.3g} times what {cleanest} does, for the same energy"
        yield from wrap(words, "", "", width)


def shift_lines(shifts: Sequence[Shift], width: int) -> Iterator[str]:
    """The cleanest and the dirtiest start."""
    for label, shift in (("cleanest", shifts[0]), ("dirtiest", shifts[-1])):
        yield from entry(label, f"{mass(shift.kg_co2e)} if begun {shift.start_utc}", width)


def equivalent_lines(
    equivalents: Sequence[Equivalent], width: int, least: float = LEAST_COUNT
) -> Iterator[str]:
    """A mass in everyday units, those of which there are ``least`` of at least."""
    for each in equivalents:
        if each.count >= least:
            yield from entry("about", each.text, width)
