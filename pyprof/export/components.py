"""The table of the text report that says what used the energy, sensor by sensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyprof.energy import Channel, EnergyReport
from pyprof.export import figure
from pyprof.export.lines import INDENT, Page, bullet, note
from pyprof.export.table import Column, draw, with_units
from pyprof.export.terminal import clean, paint

_DEVICE_WIDTH = 28
_COLUMNS = (
    Column("component"),
    Column("energy", point=True),
    Column("95 %", leave=5),
    Column("mean"),
    Column("at rest", leave=3),
    Column("peak", leave=4),
    Column("quality", right=False),
    Column("accuracy", leave=6),
    Column("coverage", leave=2),
    Column("updates", leave=1),
)


def table(report: EnergyReport, page: Page) -> list[str]:
    """What used it: one row per sensor or model that has a figure."""
    channels = [row for row in report.channel_rows if row.energy_j is not None]
    if not channels:
        return []
    scale = figure.energy_scale(max(row.energy_j or 0.0 for row in channels))
    columns = with_units(_COLUMNS, {"energy": scale.unit})
    rest_w = {} if report.baseline is None else report.baseline.power_w
    rows = [_cells(row, scale, rest_w.get(row.id)) for row in _nested(channels)]
    head, *body = draw(columns, rows, page.width, _DEVICE_WIDTH)
    lines = [paint(head, "bold", page.colour), *body]
    if not all(row.counted for row in channels):
        lines += note("( ) part of another row or of no total: not added", page)
    if any(row.tolerance is not None for row in channels):
        lines += note("accuracy: the sensor's own, in the carbon bounds but not in the 95 %", page)
    for row in channels:
        if row.quality == "modelled" and row.reason:
            lines += note(f"{clean(row.id)}: {clean(row.reason)}", page)
    for words in _checks(channels):
        lines += note(clean(words), page)
    return lines


def _checks(channels: Sequence[Channel]) -> Iterator[str]:
    """Counters held beside a second sensor of the same device, by verdict."""
    for verdict in ("agree", "disagree"):
        rows = [row for row in channels if row.check and row.check.verdict == verdict]
        found = [f"{row.id} {row.check.ratio:.3f}" for row in rows if row.check and row.check.ratio]
        if found:
            yield f"counter / power of the same device, {verdict}: {', '.join(found)}"


def _nested(channels: Sequence[Channel]) -> Iterator[Channel]:
    """Each channel followed by those inside it."""
    ids = {row.id for row in channels}
    for row in channels:
        if row.parent is None or row.parent not in ids:
            yield row
            yield from (inner for inner in channels if inner.parent == row.id)


def _device(row: Channel) -> str:
    """The device's name without the id that stands beside it."""
    return row.device.removesuffix(row.id).rstrip()


def _cells(row: Channel, scale: figure.Scale, rest_w: float | None) -> list[str]:
    """One channel as text."""
    energy_j = row.energy_j or 0.0
    doubt = figure.half_width(energy_j, row.low_j, row.high_j)
    energy = figure.cell(row.energy_j, doubt, scale)
    return [
        INDENT * (row.parent is not None) + clean(f"{row.id}  {_device(row)}".rstrip()),
        energy if row.counted else f"({energy})",
        figure.bounds(row.energy_j, row.low_j, row.high_j, scale),
        figure.power(row.mean_w),
        "" if rest_w is None else figure.power(rest_w),
        "" if row.peak_w is None else figure.power(row.peak_w),
        row.quality if row.quality != "derived" else f"derived ({row.method})",
        "" if row.tolerance is None else f"±{100 * row.tolerance:g} %",
        "" if row.coverage is None or row.coverage > 0.995 else f"{100 * row.coverage:.0f} %",
        "" if row.update_period_s is None else figure.duration(row.update_period_s),
    ]


def unmeasured(report: EnergyReport, page: Page) -> list[str]:
    """Devices that are there but have no figure, each with its reason and remedy."""
    rows = [row for row in report.channel_rows if row.energy_j is None]
    if not rows:
        return []
    remedies = {source.name: source.remedy for source in report.sources if source.remedy}
    lines = [paint("Not measured", "bold", page.colour)]
    for row in rows:
        label = clean(" ".join(word for word in (row.id, row.device) if word))
        lines += bullet(f"{label}: {clean(row.reason or 'no reading')}", page)
    shown = dict.fromkeys(remedies[row.source] for row in rows if row.source in remedies)
    return lines + [line for remedy in shown for line in bullet(f"remedy: {clean(remedy)}", page)]
