"""The report for people: what was used, where it went, how each part is known, what is missing."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyprof.energy import Channel, EnergyReport, Event, Source, SourceCost, Stage
from pyprof.export import figure, idle, shares
from pyprof.export.lines import INDENT, Page, bullet, labelled, note, wrap
from pyprof.export.stagetree import Node, stage_tree
from pyprof.export.table import Column, draw
from pyprof.export.terminal import MAX_WIDTH, clean, paint

DEFAULT_STAGES = 20
_EVENTS_SHOWN = 8
_DEVICE_WIDTH = 28
_STYLE = {"measured": "green", "derived": "green", "modelled": "yellow"}


def render(
    report: EnergyReport,
    *,
    colour: bool = False,
    width: int = MAX_WIDTH,
    stages: int | None = DEFAULT_STAGES,
    kind: str = "lifecycle",
    pue: float | None = None,
) -> str:
    """The whole report as text with a line end; ``kind`` and ``pue`` serve the zones compared."""
    page = Page(colour, width)
    sections = (
        _title(report, page),
        _headline(report, page),
        _carbon(report, page, kind, pue),
        _stages(report, page, stages),
        _components(report, page),
        shares.table(report, page),
        _unmeasured(report, page),
        _events(report, page),
        _advice(report, page),
        _overhead(report, page),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


# -- head ------------------------------------------------------------------------------------------


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


def _headline(report: EnergyReport, page: Page) -> list[str]:
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
        parts.append(paint(f"not measured: {_names(total.unmeasured)}", "red", page.colour))
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


def _names(ids: Sequence[str]) -> str:
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


# -- carbon ----------------------------------------------------------------------------------------


def _carbon(report: EnergyReport, page: Page, kind: str, pue: float | None) -> list[str]:
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


# -- tables ----------------------------------------------------------------------------------------

_STAGE_COLUMNS = (
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


def _stages(report: EnergyReport, page: Page, most: int | None) -> list[str]:
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
    columns = _with_units(
        _STAGE_COLUMNS,
        {"energy": scale.unit, "self": scale.unit, "dynamic": scale.unit, "carbon": mass.unit},
    )
    rows = [_stage_cells(node, report, scale, kg_per_j(node.row), mass) for node in nodes]
    head, *body = draw(columns, rows, page.width)
    lines = [paint(head, "bold", page.colour), *body]
    return lines + _stage_legend([node.row for node in nodes], hidden, page)


def _with_units(columns: Sequence[Column], units: Mapping[str, str]) -> list[Column]:
    """Columns whose heads name their unit."""
    return [
        replace(column, title=f"{column.title} {units.get(column.title, '')}".rstrip())
        for column in columns
    ]


def _stage_cells(
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
        _stage_name(node, report.stage_rows[0].phase),
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


def _stage_name(node: Node, phase_of_run: str) -> str:
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


def _stage_legend(rows: Sequence[Stage], hidden: int, page: Page) -> list[str]:
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


_COMPONENT_COLUMNS = (
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


def _components(report: EnergyReport, page: Page) -> list[str]:
    """What used it: one row per sensor or model that has a figure."""
    channels = [row for row in report.channel_rows if row.energy_j is not None]
    if not channels:
        return []
    scale = figure.energy_scale(max(row.energy_j or 0.0 for row in channels))
    columns = _with_units(_COMPONENT_COLUMNS, {"energy": scale.unit})
    rest_w = {} if report.baseline is None else report.baseline.power_w
    rows = [_component_cells(row, scale, rest_w.get(row.id)) for row in _nested(channels)]
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


def _component_cells(row: Channel, scale: figure.Scale, rest_w: float | None) -> list[str]:
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


# -- what is missing, what happened ----------------------------------------------------------------


def _unmeasured(report: EnergyReport, page: Page) -> list[str]:
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


def _events(report: EnergyReport, page: Page) -> list[str]:
    """Gaps, wraps, resets and the like: one line per kind and channel."""
    if not report.events:
        return []
    groups: dict[tuple[str, str | None, str], list[Event]] = {}
    for event in report.events:
        key = (event.kind, event.channel, event.text if event.kind == "note" else "")
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
        return clean(first.text)
    times = f" ×{count}" if count > 1 else ""
    where = f" {clean(first.channel)}" if first.channel else ""
    when = f"{'first ' if len(group) > 1 else ''}at {figure.duration(max(0.0, first.t_s))}"
    text = f": {clean(first.text)}" if first.text else ""
    return f"{first.kind}{where}{times}, {when}{text}"


def _advice(report: EnergyReport, page: Page) -> list[str]:
    """What would make this report better, most useful first."""
    advice = list(dict.fromkeys(_advise(report)))
    if not advice:
        return []
    lines = [paint("What would make it better", "bold", page.colour)]
    return lines + [line for text in advice for line in bullet(text, page)]


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
            yield f"for an estimate of {_names(report.total.unmeasured)}: {remedy}"
    elif remedy:
        yield f"{clean(source.name)} is not readable{f' ({reason})' if reason else ''}: {remedy}"
    elif "(errno" in reason:
        yield f"{clean(source.name)} is not readable: {reason}"


def _overhead(report: EnergyReport, page: Page) -> list[str]:
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
