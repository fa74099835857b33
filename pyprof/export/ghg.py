"""Columns for a GHG Protocol inventory: scope 2 by place and by contract, and scope 3.

A direct factor gives scope 2. A life-cycle factor is scope 2 and the upstream part of scope 3
(category 3) in one figure, and can't be taken apart here: it has a row of its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from pyprof.carbon.factor import DIRECT
from pyprof.export.subject import Subject

COLUMNS = ("scope", "category", "method", "kg_co2e", "low_kg", "high_kg", "factor", "note")
Row = tuple[str, str, str, float | None, float | None, float | None, str, str]


def ghg_rows(subject: Subject) -> list[Row]:
    """The rows; None is unknown or not asked for."""
    return [*_scope_2(subject), *_scope_3(subject)]


def render_ghg(subject: Subject) -> str:
    """The rows as CSV; an unknown figure is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in ghg_rows(subject):
        writer.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue()


def _scope_2(subject: Subject) -> Iterator[Row]:
    """Purchased electricity, by place and by contract."""
    priced = subject.footprint
    factor = "; ".join(each.describe() for each in priced.factors)
    bounds = (subject.kg, priced.low_kg, priced.high_kg)
    if all(each.kind == DIRECT for each in priced.factors):
        yield ("2", "purchased electricity", "location-based", *bounds, factor, "")
    else:
        yield (
            "2",
            "purchased electricity",
            "location-based",
            None,
            None,
            None,
            "",
            "ask for kind direct: a life-cycle factor holds more than scope 2",
        )
        yield ("2 + 3", "electricity and its upstream", "location-based", *bounds, factor, "")
    source = priced.scenario.market_source or "not stated"
    note = "" if priced.aside.market_kg is not None else "no market-based factor given"
    yield (
        "2",
        "purchased electricity",
        "market-based",
        priced.aside.market_kg,
        None,
        None,
        source if priced.aside.market_kg is not None else "",
        note,
    )


def _scope_3(subject: Subject) -> Iterator[Row]:
    """Losses of the grid and the making of hardware."""
    aside = subject.footprint.aside
    loss = "" if aside.losses_kg is not None else "no grid loss given"
    yield (
        "3",
        "3 fuel and energy: transmission and distribution losses",
        "location-based",
        aside.losses_kg,
        None,
        None,
        "",
        loss,
    )
    made = "" if aside.embodied_kg is not None else "no hardware given"
    yield (
        "3",
        "1 or 2 purchased or capital goods: hardware",
        "share by hours held",
        aside.embodied_kg,
        aside.embodied_low_kg,
        aside.embodied_high_kg,
        "; ".join(f"{h.component.name} ({h.component.basis})" for h in aside.embodied),
        made,
    )
