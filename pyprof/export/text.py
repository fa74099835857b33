"""The report for people: what was used, where it went, how each part is known, what is missing."""

from __future__ import annotations

import signal

from pyprof.energy import EnergyReport
from pyprof.export import (
    components,
    conditions,
    figure,
    footprint,
    headline,
    remarks,
    shares,
    stages,
)
from pyprof.export.lines import INDENT, Page, wrap
from pyprof.export.terminal import MAX_WIDTH, clean, paint

DEFAULT_STAGES = 20


def render(
    report: EnergyReport,
    *,
    colour: bool = False,
    width: int = MAX_WIDTH,
    most_stages: int | None = DEFAULT_STAGES,
    kind: str = "lifecycle",
    pue: float | None = None,
) -> str:
    """The whole report as text with a line end; ``kind`` and ``pue`` serve the zones compared."""
    page = Page(colour, width)
    sections = (
        _title(report, page),
        headline.lines_of(report, page),
        footprint.lines_of(report, page, kind, pue),
        stages.table(report, page, most_stages),
        components.table(report, page),
        shares.table(report, page),
        conditions.table(report, page),
        components.unmeasured(report, page),
        remarks.events(report, page),
        remarks.advice(report, page),
        remarks.overhead(report, page),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _title(report: EnergyReport, page: Page) -> list[str]:
    """What was run, where, when and how it ended."""
    run = report.run
    when = None if run.start_utc is None else run.start_utc[:19].replace("T", " ") + " UTC"
    where = None if run.host is None else f"on {run.host}"
    head = paint(clean(run.command or "this process"), "bold", page.colour)
    parts = (where, when, figure.duration(run.duration_s), _ending(report))
    text = " · ".join([head, *(clean(part) for part in parts if part)])
    return wrap(text, "", INDENT, page.width)


def _ending(report: EnergyReport) -> str:
    """How the run ended, as far as the recording knows."""
    run = report.run
    if run.signal is not None:
        return f"killed by {_signal_name(run.signal)}"
    if not run.complete:
        return "cut short: the figures end with the last reading kept"
    return "" if run.exit_status is None else f"exit {run.exit_status}"


def _signal_name(number: int) -> str:
    """``SIGTERM`` or ``signal 99``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
