"""The table of the text report that says who used the devices that are shared."""

from __future__ import annotations

from collections.abc import Sequence

from pyprof.energy import EnergyReport, Share
from pyprof.export import figure
from pyprof.export.lines import Page, note
from pyprof.export.table import Column, draw
from pyprof.export.terminal import clean, paint


def table(report: EnergyReport, page: Page) -> list[str]:
    """One row per device: what the party used, what others did, what nobody did."""
    shares = report.shares
    if not shares:
        return []
    scale = figure.energy_scale(max(_whole_j(share) for share in shares))
    columns = [
        Column(f"shares, {scale.unit}"),
        Column(f"this {shares[0].scope}", point=True),
        Column("open", leave=2),
        Column("of it"),
        Column("others", point=True, leave=1),
        Column("idle", point=True, leave=1),
    ]
    head, *body = draw(columns, [_cells(share, scale) for share in shares], page.width)
    lines = [paint(head, "bold", page.colour), *body]
    for rule in dict.fromkeys(share.rule for share in shares):
        names = [share.channel for share in shares if share.rule == rule]
        lines += note(clean(f"{_listed(names)}: {rule}"), page)
    return lines


def _whole_j(share: Share) -> float:
    return share.energy_j + share.others_j + share.idle_j


def _cells(share: Share, scale: figure.Scale) -> list[str]:
    """One device as text."""
    return [
        clean(share.channel),
        figure.cell(share.energy_j, None, scale),
        f"{figure.cell(share.low_j, None, scale)}–{figure.cell(share.high_j, None, scale)}",
        figure.percent(share.energy_j, _whole_j(share)),
        figure.cell(share.others_j, None, scale),
        figure.cell(share.idle_j, None, scale),
    ]


def _listed(names: Sequence[str]) -> str:
    """The first few names."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
