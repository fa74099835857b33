"""The table of the text report that says where the energy went, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyprof.energy import EnergyReport, Stage
from pyprof.export import figure, idle
from pyprof.export.lines import INDENT, Page, note
from pyprof.export.stagetree import Node, stage_tree
from pyprof.export.table import Column, draw, with_units
from pyprof.export.terminal import clean, paint

_COLUMNS = (
    Column("stage"),
    Column("calls", leave=3),
    Column("time"),
    Column("energy", point=True),
    Column("95 %", leave=4),
    Column("power"),
    Column("share"),
    Column("self", point=True, leave=2),
    Column("dynamic", point=True, leave=3),
    Column("carbon", point=True, leave=5),
    Column("by sensor", leave=1),
)


def table(report: EnergyReport, page: Page, most: int | None) -> list[str]:
    """Where the energy went: one row per path and phase, as a tree."""
    if not report.stage_rows:
        return []
    nodes, hidden = stage_tree(report.stage_rows, most)
    scale = figure.energy_scale(report.total.energy_j)
    kg_per_j = _kg_per_joule(report)
    mass = figure.mass_scale(
        max(
            (value * (node.row.energy_j or 0.0) for node in nodes if (value := kg_per_j(node.row))),
            default=0.0,
        )
    )
    columns = with_units(
        _COLUMNS,
        {"energy": scale.unit, "self": scale.unit, "dynamic": scale.unit, "carbon": mass.unit},
    )
    rows = [_cells(node, report, scale, kg_per_j(node.row), mass) for node in nodes]
    head, *body = draw(columns, rows, page.width)
    lines = [paint(head, "bold", page.colour), *body]
    return lines + _legend([node.row for node in nodes], hidden, page)


def _cells(
    node: Node,
    report: EnergyReport,
    scale: figure.Scale,
    kg_per_j: float | None,
    mass: figure.Scale,
) -> list[str]:
    """One stage as text."""
    row = node.row
    energy_j = row.energy_j
    doubt = None if energy_j is None else figure.half_width(energy_j, row.low_j, row.high_j)
    kg = None if kg_per_j is None or energy_j is None else energy_j * kg_per_j
    relative = None if not energy_j or doubt is None else doubt / energy_j
    return [
        _name(node, report.stage_rows[0].phase),
        str(row.count) if row.path else "",
        figure.duration(row.wall_s),
        _knowledge(row) + figure.cell(energy_j, doubt, scale),
        figure.bounds(row.energy_j, row.low_j, row.high_j, scale),
        figure.power(None if energy_j is None or not row.wall_s else energy_j / row.wall_s),
        figure.percent(energy_j, report.total.energy_j),
        figure.cell(row.self_energy_j, doubt, scale),
        idle.cell(row.split, scale),
        "" if kg is None else figure.cell(kg, None if relative is None else kg * relative, mass),
        _read_share(row),
    ]


def _name(node: Node, phase_of_run: str) -> str:
    """The last name of the path, indented, with a phase other than the run's."""
    name = clean(node.name) if node.row.path else "(whole run)"
    phase = f" [{node.row.phase}]" if node.row.phase != phase_of_run else ""
    return f"{INDENT * node.depth}{'! ' if node.row.cut else ''}{name}{phase}"


def _knowledge(row: Stage) -> str:
    """The sign of a stage that its sensors do not see entry by entry."""
    if not row.resolved:
        return "~"
    return "*" if row.solved else ""


def _read_share(row: Stage) -> str:
    """The share of the stage's energy that sensors told, not models."""
    told = sum(row.by_quality.get(quality, 0.0) for quality in ("measured", "derived"))
    return figure.percent(told, sum(row.by_quality.values()))


def _kg_per_joule(report: EnergyReport) -> Any:
    """Stage → kg per joule: the mean intensity of what was used in it and inside it."""
    if report.footprint is None:
        return lambda row: None
    by_stage: Mapping[str, float | None] = report.footprint.to_dict()["by_stage"]
    self_j: dict[str, float] = {}
    for row in report.stage_rows:
        self_j[row.path] = self_j.get(row.path, 0.0) + (row.self_energy_j or 0.0)

    def intensity(row: Stage) -> float | None:
        prefix = f"{row.path}/" if row.path else ""
        inside = [path for path in self_j if path == row.path or path.startswith(prefix)]
        joules = sum(self_j[path] for path in inside)
        kg = sum(by_stage.get(path) or 0.0 for path in inside)
        return kg / joules if joules > 0 else None

    return intensity


def _legend(rows: Sequence[Stage], hidden: int, page: Page) -> list[str]:
    """What the signs in the table mean, only where they are used."""
    lines = []
    if hidden:
        lines += note(f"{hidden} more with less energy: pyprof report FILE --all shows them", page)
    blind = sorted({name for row in rows if not row.resolved for name in row.unresolved})
    if blind or not all(row.resolved for row in rows):
        which = f" of {clean(', '.join(blind))}" if blind else ""
        lines += note(f"~ not resolved: shorter than two updates{which}", page)
    if any(row.resolved and row.solved for row in rows):
        lines += note("* too short to be seen one by one: solved from all of its repeats", page)
    if any(row.cut for row in rows):
        lines += note("! still open when the recording ended", page)
    return lines
