"""What the text report says after its tables: events, what would help, what measuring cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyprof.energy import EnergyReport, Event, Source, SourceCost
from pyprof.export import figure
from pyprof.export.headline import names
from pyprof.export.lines import INDENT, Page, bullet, wrap
from pyprof.export.terminal import clean, paint

_EVENTS_SHOWN = 8


def events(report: EnergyReport, page: Page) -> list[str]:
    """Gaps, wraps, resets and the like: one line per kind and channel, or per note."""
    if not report.events:
        return []
    groups: dict[tuple[str, str | None, str], list[Event]] = {}
    for event in report.events:
        note = event.kind == "note"
        key = (event.kind, None if note else event.channel, event.text if note else "")
        groups.setdefault(key, []).append(event)
    lines = [paint("Events", "bold", page.colour)]
    for group in list(groups.values())[:_EVENTS_SHOWN]:
        lines += bullet(_event_words(group), page)
    hidden = len(groups) - _EVENTS_SHOWN
    if hidden > 0:
        lines += bullet(f"{hidden} more kinds of event: see --json", page)
    return lines


def _event_words(group: Sequence[Event]) -> str:
    """What happened, to what, how often, first when."""
    first, count = group[0], sum(event.count for event in group)
    if first.kind == "note":
        channels = names(tuple(dict.fromkeys(each.channel for each in group if each.channel)))
        return f"{channels}: {clean(first.text)}" if channels else clean(first.text)
    times = f" ×{count}" if count > 1 else ""
    where = f" {clean(first.channel)}" if first.channel else ""
    when = f"{'first ' if len(group) > 1 else ''}at {figure.duration(max(0.0, first.t_s))}"
    text = f": {clean(first.text)}" if first.text else ""
    return f"{first.kind}{where}{times}, {when}{text}"


def advice(report: EnergyReport, page: Page) -> list[str]:
    """What would make this report better, most useful first."""
    texts = list(dict.fromkeys(_advise(report)))
    if not texts:
        return []
    lines = [paint("What would make it better", "bold", page.colour)]
    return lines + [line for text in texts for line in bullet(text, page)]


# A driver is no advice where there is no device.
_DOMAIN_OF = {"rapl-perf": "package", "rapl-powercap": "package", "nvml": "gpu"}
_MODELS = "modelled"


def _advise(report: EnergyReport) -> Iterator[str]:
    """One sentence per thing that can be mended."""
    blind = {row.domain for row in report.channel_rows if row.quality in ("modelled", "unmeasured")}
    told = {row.source for row in report.channel_rows if row.energy_j is None}
    for source in report.sources:
        domain = _DOMAIN_OF.get(source.name)
        helps = domain is None or domain in blind
        if not source.available and source.name not in told and helps:
            yield from _mend(source, report)
    if any(not row.resolved and row.path for row in report.stage_rows):
        yield "stages marked ~ need to last longer, or to be put in one longer stage"
    if any((row.coverage or 1.0) < 0.95 for row in report.channel_rows if row.counted):
        yield "some readings are missing for over 5 % of the run: see Events"
    if "modelled" in report.total.by_quality:
        yield "modelled parts are estimates from load: pyprof doctor says what could be read here"


def _mend(source: Source, report: EnergyReport) -> Iterator[str]:
    """Why a source gives nothing, and what helps; silence where neither is of use."""
    reason, remedy = clean(source.reason or ""), clean(source.remedy or "")
    if source.name == _MODELS:
        if remedy and report.total.unmeasured:
            yield f"for an estimate of {names(report.total.unmeasured)}: {remedy}"
    elif remedy:
        yield f"{clean(source.name)} is not readable{f' ({reason})' if reason else ''}: {remedy}"
    elif "(errno" in reason:
        yield f"{clean(source.name)} is not readable: {reason}"


def overhead(report: EnergyReport, page: Page) -> list[str]:
    """What measuring cost, or nothing if it was not kept."""
    cost = report.overhead
    words = (
        None if cost.cpu_s is None else f"{figure.duration(cost.cpu_s)} of CPU",
        None if cost.cpu_percent is None else f"{cost.cpu_percent:.2g} % of one core",
        None if cost.reads is None else f"{cost.reads} reads",
        None if cost.wakes is None else f"{cost.wakes} wakes",
        None if not cost.late else f"{cost.late} late",
        None if not cost.failed_reads else f"{cost.failed_reads} failed reads",
        None if not cost.unseen else f"{cost.unseen} updates not seen",
        None if (cost.slowed or 1) == 1 else f"slowed down {cost.slowed}-fold",
    )
    known = [word for word in words if word]
    text = f"pyprof {clean(report.pyprof_version)} itself: {', '.join(known) or 'cost not known'}"
    lines = wrap(text, "", INDENT, page.width)
    if cost.sources:
        reads = "; ".join(_source_cost(row) for row in cost.sources)
        lines += wrap(f"a read takes: {reads}", INDENT, INDENT, page.width)
    return lines


def _source_cost(row: SourceCost) -> str:
    """How long a read of one source takes, and all its reads together."""
    p50, p99, total = (figure.duration(each) for each in (row.p50_s, row.p99_s, row.total_s))
    return f"{clean(row.name)} {p50} (p99 {p99}, {total} in all)"
