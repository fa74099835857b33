"""A life cycle, and the outcomes of published cases, as lines of text within a width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from pyprof.export.account import entry, equivalent_lines
from pyprof.export.figure import count, digits, mass, mass_alone, mass_scale, percent
from pyprof.export.lines import wrap
from pyprof.export.table import Column, draw
from pyprof.export.terminal import clean

if TYPE_CHECKING:
    from pyprof.carbon.cases import Outcome
    from pyprof.carbon.equivalents import Equivalent
    from pyprof.carbon.lifecycle import LifeCycle, PhaseRow, Use


def life_cycle_lines(
    cycle: LifeCycle, equivalents: Sequence[Equivalent], width: int
) -> Iterator[str]:
    """The account with everything it rests on."""
    yield from wrap(clean(cycle.name), "", "", width)
    yield ""
    yield from _row_lines(cycle, width)
    yield ""
    for label, words in _entries(cycle):
        yield from entry(label, words, width)
    yield from equivalent_lines(equivalents, width)


def _entries(cycle: LifeCycle) -> Iterator[tuple[str, str]]:
    """What is said below the table."""
    whole = mass(cycle.kg_co2e, cycle.low_kg, cycle.high_kg)
    yield "total", f"{whole}, location-based"
    market = "not known for every row" if cycle.market_kg is None else mass(cycle.market_kg)
    yield "market", f"{market}, never netted against the other"
    if cycle.dominating is not None:
        yield "unsure", f"most of all {cycle.dominating.cause}"
    if cycle.kg_co2e:
        shares = (f"{name} {kg / cycle.kg_co2e:.0%}" for name, kg in cycle.by_quality.items())
        yield "known how", ", ".join(shares)
    if cycle.use is not None:
        yield from _use_entries(cycle.use)
    if cycle.deployment_kg_per_day is not None:
        yield "use a day", mass(cycle.deployment_kg_per_day)
    yield from (("published", item) for item in cycle.published)
    yield from (("not in it", item) for item in cycle.excluded)
    yield from (("note", note) for note in cycle.notes)


def _use_entries(use: Use) -> Iterator[tuple[str, str]]:
    """What a request costs, and what making costs beside it."""
    asked = f"{count(use.requests, 6)} of them"
    yield "a request", f"{use.wh_per_request:.4g} Wh, {use.g_per_request:.4g} g ({asked})"
    if use.making_g_per_request is not None:
        yield "making", f"{use.making_g_per_request:.4g} g beside each request, not added to it"
    if use.break_even_requests is not None:
        days = "" if use.break_even_days is None else f", {count(use.break_even_days)} days"
        words = f"{count(use.break_even_requests)} requests{days} until use equals making"
        yield "break-even", words


def _row_lines(cycle: LifeCycle, width: int) -> Iterator[str]:
    """Rows and phases as a table."""
    columns = (
        Column("phase"),
        Column("kWh", leave=2),
        Column("location"),
        Column("low to high", leave=1),
        Column("market", leave=3),
        Column("share"),
    )
    rows = [
        (
            f"{row.phase}: {row.name}",
            "" if row.energy_kwh is None else _figure(row.energy_kwh, 6),
            mass_alone(row.kg_co2e, row.low_kg, row.high_kg),
            _range(row),
            _market(row),
            percent(row.kg_co2e, cycle.kg_co2e),
        )
        for row in cycle.rows
    ]
    yield from draw(columns, rows, width)


def _market(row: PhaseRow) -> str:
    """The market-based figure; contracts change nothing in how hardware was made."""
    if row.market_kg is None:
        return ""
    is_made = row.holding is not None
    return mass_alone(row.market_kg, row.low_kg, row.high_kg) if is_made else mass(row.market_kg)


def _range(row: PhaseRow) -> str:
    """Both ends of a row's interval in one unit; empty where nothing is unsure."""
    if row.kg_co2e is None or row.low_kg is None or row.high_kg is None:
        return ""
    if row.low_kg == row.high_kg:
        return ""
    scale = mass_scale(row.kg_co2e)
    doubt = (row.high_kg - row.low_kg) / scale.size
    return " to ".join(digits(end / scale.size, doubt) for end in (row.low_kg, row.high_kg))


def outcome_lines(outcomes: Sequence[Outcome], width: int) -> Iterator[str]:
    """Published figures beside computed ones, and how many come out."""
    columns = (
        Column("case and quantity"),
        Column("expected"),
        Column("computed"),
        Column("pass", right=False),
    )
    rows: list[tuple[str, ...]] = []
    for case, each_of_it in groupby(outcomes, key=lambda each: each.id):
        rows.append((case, "", "", ""))
        rows += [
            (
                f"  {each.quantity} {each.model or ''}".rstrip(),
                _figure(each.expected, 10),
                _figure(each.computed, 6),
                "pass" if each.passes else "FAIL",
            )
            for each in each_of_it
        ]
    yield from draw(columns, rows, width)
    failed = sum(not each.passes for each in outcomes)
    yield f"{len(outcomes) - failed} of {len(outcomes)} pass"


def _figure(value: float, digits: int) -> str:
    """A figure with that many digits, and never fewer than its whole part has."""
    return f"{value:.0f}" if 10.0**digits <= abs(value) < 1e15 else f"{value:.{digits}g}"
