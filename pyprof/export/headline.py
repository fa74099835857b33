"""The head of the text report: how much, of what power, how it is known, what it covers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pyprof.energy import EnergyReport
from pyprof.export import figure, idle
from pyprof.export.lines import Page, labelled
from pyprof.export.terminal import clean, paint

_STYLE = {"measured": "green", "derived": "green", "modelled": "yellow"}


def lines_of(report: EnergyReport, page: Page) -> list[str]:
    """Total energy, its parts by how they are known, its power and its scope."""
    total = report.total
    lines = []
    if total.energy_j is None:
        lines += labelled("Energy", "not known: nothing was read and nothing modelled", page)
    else:
        scale = figure.energy_scale(total.energy_j)
        text = figure.interval(total.energy_j, total.low_j, total.high_j, scale)
        lines += labelled("Energy", paint(text, "bold", page.colour), page)
        lines += labelled("", _parts(report, scale, page), page)
        lines += [line for text in _doubt(report) for line in labelled("", text, page)]
    lines += labelled("Power", _mean_power(report), page)
    lines += idle.headline(report, page)
    return lines + labelled("Scope", clean(report.run.covers or report.run.scope), page)


def _parts(report: EnergyReport, scale: figure.Scale, page: Page) -> str:
    """Measured, derived and modelled energy apart, and how many channels have none."""
    total = report.total
    if len(total.by_quality) == 1 and not total.unmeasured:
        return _whole(next(iter(total.by_quality)), report, scale, page)
    parts = [
        paint(_part(quality, report, scale), _STYLE[quality], page.colour)
        for quality in _STYLE
        if quality in total.by_quality
    ]
    if total.unmeasured:
        parts.append(paint(f"not measured: {names(total.unmeasured)}", "red", page.colour))
    return " · ".join(parts)


def _whole(quality: str, report: EnergyReport, scale: figure.Scale, page: Page) -> str:
    """How the total is known where all of it is known in one way."""
    words = {"derived": ": integrated from readings of power"}.get(quality, "")
    if quality == "modelled":
        low, high = report.total.low_j, report.total.high_j
        doubt = figure.half_width(report.total.energy_j or 0.0, low, high)
        ends = f"{figure.cell(low, doubt, scale)} to {figure.cell(high, doubt, scale)}"
        words = f": an estimate from load and design power, {ends} {scale.unit}"
    return paint(f"all of it {quality}{words}", _STYLE.get(quality, "yellow"), page.colour)


def names(ids: Sequence[str]) -> str:
    """The first few ids and how many more there are."""
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return clean(", ".join(ids[:3])) + more


def _part(quality: str, report: EnergyReport, scale: figure.Scale) -> str:
    """One quality's energy; a modelled one with the ends of its models."""
    energy_j = report.total.by_quality[quality]
    channels = [row for row in report.channel_rows if row.counted and row.quality == quality]
    low = _sum(row.low_j for row in channels)
    high = _sum(row.high_j for row in channels)
    doubt = figure.half_width(energy_j, low, high)
    text = f"{figure.cell(energy_j, doubt, scale)} {scale.unit} {quality}"
    if quality != "modelled" or low is None or high is None:
        return text
    ends = f"{figure.cell(low, doubt, scale)} to {figure.cell(high, doubt, scale)}"
    return f"{text} (an estimate; its models allow {ends})"


_WIDE = 0.02  # half-width of an interval from which on its cause is of interest, of the energy
_CAUSES = {
    "edges": "when within a sensor's update the power changed",
    "quantum": "the sensors' smallest step",
    "gaps": "stretches without a reading",
    "window": "what the sensors average over or leave out",
    "repeats": "the fit of stages that repeat",
    "model": "how far the models may be wrong",
}


def _doubt(report: EnergyReport) -> Iterator[str]:
    """Where a wide interval comes from, if one cause gives more than half of it."""
    total = report.total
    if total.energy_j is None or len(total.bound) < 2:
        return
    whole = sum(total.bound.values())
    cause, most = max(total.bound.items(), key=lambda item: item[1])
    if most > _WIDE * total.energy_j and most > whole / 2:
        yield f"the interval is mostly {_CAUSES[cause]}"


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum, or None if one is not known."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _mean_power(report: EnergyReport) -> str:
    """Mean power over the run."""
    energy_j, length_s = report.total.energy_j, report.run.duration_s
    if energy_j is None or not length_s:
        return figure.UNKNOWN
    return f"{figure.power(energy_j / length_s)} on average over {figure.duration(length_s)}"
