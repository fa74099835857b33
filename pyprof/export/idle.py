"""Lines of the text report on idle energy, and on what has no sensor of its own."""

from __future__ import annotations

from collections.abc import Iterator

from pyprof.energy import EnergyReport, Remainder, Split
from pyprof.export import figure
from pyprof.export.lines import Page, labelled
from pyprof.export.terminal import clean


def headline(report: EnergyReport, page: Page) -> list[str]:
    """Below the total: what of it the machine would have used at rest, and what lies beside it."""
    lines = []
    for index, text in enumerate(_idle(report)):
        lines += labelled("" if index else "Idle", clean(text), page)
    for index, remainder in enumerate(report.remainders):
        lines += labelled("" if index else "Beside", clean(_beside(remainder)), page)
    return lines


def cell(split: Split | None, scale: figure.Scale) -> str:
    """The dynamic part for a column; empty without a baseline."""
    if split is None:
        return ""
    return figure.cell(split.dynamic_j, _doubt(split), scale)


def _doubt(split: Split) -> float | None:
    return figure.half_width(split.idle_j, split.idle_low_j, split.idle_high_j)


def _idle(report: EnergyReport) -> Iterator[str]:
    rest, split = report.baseline, report.total.split
    if rest is None:
        return
    made = f"baseline of {rest.made_utc[:10]}, {figure.duration(rest.duration_s)}"
    if split is None:
        yield f"not known: the {made}, holds no counted device that has a figure"
        return
    whole_j = split.idle_j + split.dynamic_j
    scale = figure.energy_scale(whole_j)
    idle = figure.interval(split.idle_j, split.idle_low_j, split.idle_high_j, scale)
    dynamic = figure.cell(split.dynamic_j, _doubt(split), scale)
    share = figure.percent(split.idle_j, whole_j)
    yield f"{idle.replace('(95 %', '(spread at rest')}, {share}; dynamic {dynamic} {scale.unit}"
    yield made if rest.measurements == 1 else f"{made}, in {rest.measurements} measurements"
    if rest.unsplit:
        yield f"not taken apart, as the baseline does not hold them: {', '.join(rest.unsplit)}"
    yield from rest.notes


def _beside(remainder: Remainder) -> str:
    parts = ", ".join(remainder.parts)
    if remainder.energy_j is None:
        return f"{remainder.whole} less {parts or 'its parts'}: {remainder.reason}"
    scale = figure.energy_scale(remainder.energy_j)
    text = figure.interval(remainder.energy_j, remainder.low_j, remainder.high_j, scale)
    if remainder.tolerance_j is not None:
        doubt = figure.cell(remainder.tolerance_j, remainder.tolerance_j, scale)
        text += f", sensors' accuracy ±{doubt}"
    words = f"{text}: {remainder.whole} less {parts}, in no total (fans, power supply, network …)"
    return f"{words}; it {remainder.reason}" if remainder.reason else words
