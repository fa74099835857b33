"""The lines of the text report about carbon: a figure with its factor, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyprof.energy import EnergyReport
from pyprof.export import figure
from pyprof.export.lines import Page, labelled
from pyprof.export.terminal import clean, paint


def lines_of(report: EnergyReport, page: Page, kind: str, pue: float | None) -> list[str]:
    """The footprint with its factor, or what it would be in a few zones."""
    if report.footprint is None:
        return _elsewhere(report, page, kind, pue)
    footprint = report.footprint.to_dict()
    kg = footprint["kg_co2e"]
    if kg is None:
        return labelled("Carbon", "not known, because the energy is not", page)
    text = figure.mass(kg, footprint["low_kg"], footprint["high_kg"])
    lines = labelled("Carbon", paint(text, "bold", page.colour), page)
    for factor in footprint["factors"]:
        lines += labelled("", _factor(factor), page)
    return lines + [line for note in _notes(footprint) for line in labelled("", note, page)]


def _factor(factor: Mapping[str, Any]) -> str:
    """A factor with its zone, year, kind, source and licence."""
    kind = {"lifecycle": "life cycle"}.get(factor["kind"], factor["kind"])
    place = factor["zone"] or "no zone"
    if factor.get("name") not in (None, factor["zone"]):
        place = f"{factor['name']} ({place})"
    words = (
        place,
        None if factor["year"] is None else str(factor["year"]),
        kind,
        factor["basis"],
        factor["source"],
        factor["licence"],
    )
    return clean(f"{factor['g_per_kwh']:g} g/kWh: " + ", ".join(word for word in words if word))


def _notes(footprint: Mapping[str, Any]) -> Iterator[str]:
    """What must be known with the figure: substitution, the other kind, overhead."""
    if footprint.get("substituted"):
        yield clean(footprint["substituted"])
    if footprint.get("beside"):
        yield f"beside it, in no total: {_factor(footprint['beside'])}"
    notes = footprint.get("notes")
    if notes is None:
        notes = (_overhead_note(footprint["pue"]),)
    yield from (clean(note) for note in notes)


def _overhead_note(pue: float | None) -> str:
    """Whether the facility's overhead is in the figure."""
    return "facility overhead not included" if pue is None else f"PUE {pue:g} included"


def _elsewhere(report: EnergyReport, page: Page, kind: str, pue: float | None) -> list[str]:
    """No zone, no footprint: the same energy in a few grids, and how to set a place."""
    from pyprof.carbon import compare

    energy_j = report.total.energy_j
    if energy_j is None:
        return []
    rows = [row for row in compare(energy_j, kind=kind, pue=pue) if row.kg_co2e is not None]
    scale = figure.mass_scale(max((row.kg_co2e or 0.0 for row in rows), default=0.0))
    would_be = ", ".join(
        f"{clean(row.name or row.zone)} {_roughly((row.kg_co2e or 0.0) / scale.size)}"
        for row in rows
    )
    overhead = "without facility overhead" if pue is None else f"with PUE {pue:g}"
    return [
        *labelled("Carbon", "no zone is set, so no footprint is given", page),
        *labelled("", f"it would be, in {scale.unit} CO2e {overhead}: {would_be}", page),
        *labelled(
            "",
            'set one: --zone FR, PYPROF_ZONE=FR, or [tool.pyprof] zone = "FR" in pyproject.toml',
            page,
        ),
    ]


def _roughly(value: float) -> str:
    """About two digits: a yearly mean of a whole country holds no more."""
    return figure.digits(value, value)
