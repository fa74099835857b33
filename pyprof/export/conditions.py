"""The table of the text report that explains the power of GPUs."""

from __future__ import annotations

from pyprof.energy import Condition, EnergyReport
from pyprof.export.lines import Page
from pyprof.export.table import Column, draw
from pyprof.export.terminal import clean, paint


def table(report: EnergyReport, page: Page) -> list[str]:
    """One row per GPU: means over the run."""
    if not report.conditions:
        return []
    columns = [
        Column("conditions, mean"),
        Column("busy"),
        Column("SM clock", leave=2),
        Column("temperature", leave=1),
        Column("at power limit"),
        Column("too hot"),
    ]
    head, *body = draw(columns, [_cells(row) for row in report.conditions], page.width)
    return [paint(head, "bold", page.colour), *body]


def _cells(row: Condition) -> list[str]:
    """One GPU as text; what is unknown says so."""
    return [
        clean(row.channel),
        _text(row.busy, 100, "%"),
        _text(row.sm_clock_mhz, 1, "MHz"),
        _text(row.temperature_c, 1, "°C"),
        _text(row.power_capped, 100, "%"),
        _text(row.too_hot, 100, "%"),
    ]


def _text(value: float | None, scale: float, unit: str) -> str:
    return "unknown" if value is None else f"{value * scale:.0f} {unit}"
