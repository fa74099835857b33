"""From a recording to joules: the native account's numbers as an energy report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyprof
from pyprof import _native, conditions, host, usage
from pyprof.baseline import Baseline
from pyprof.check import Fault, find_checks, find_faults, is_beside, without
from pyprof.energy import (
    Channel,
    Check,
    EnergyReport,
    Event,
    Overhead,
    Run,
    Solved,
    SourceCost,
    Stage,
    Total,
)
from pyprof.errors import RecordingError
from pyprof.layout import Incident
from pyprof.selection import Selection, select
from pyprof.split import remainders, split_idle

if TYPE_CHECKING:
    from pyprof.recording import Recording

UNMEASURED = "unmeasured"
_COST_KEYS = ("reads", "failed_reads", "p50_s", "p99_s", "total_s")


def report(
    recording: Recording,
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    phase: str | None = None,
    baseline: Baseline | None = None,
) -> EnergyReport:
    """Joules per stage and channel of the recording, or of a part of it.

    With a ``baseline`` idle energy is told from dynamic; devices whose use was recorded are shared.
    """
    start_ns = recording.start_ns if start_ns is None else start_ns
    end_ns = max(recording.end_ns if end_ns is None else end_ns, start_ns)
    recording, solved, faults, chosen = _solve(
        recording, start_ns, end_ns, phase or recording.phase
    )
    checks = find_checks(recording.channels, solved["channels"])
    used = _Beside(usage.USE, recording.channels, solved)
    state = _Beside(conditions.CONDITION, recording.channels, solved)
    channels = tuple(_channels(recording, solved["channels"], faults, checks))
    stages = tuple(_stage(row, recording.channels, channels) for row in solved["stages"])
    doubts = (*_doubts(faults, checks), *_asynchronous(stages, channels))
    energy = EnergyReport(
        pyprof_version=pyprof.__version__,
        run=_run(recording, start_ns, end_ns),
        sources=recording.sources,
        channel_rows=channels,
        stage_rows=stages,
        total=_total(solved, channels),
        events=_events(recording, chosen, solved, start_ns, doubts),
        overhead=_overhead(recording),
        remainders=remainders(channels),
    )
    if baseline is not None:
        energy = split_idle(energy, baseline)
    return _with_conditions(_with_shares(energy, used, baseline), state)


def _solve(
    recording: Recording, start_ns: int, end_ns: int, phase: str
) -> tuple[Recording, dict[str, Any], tuple[Fault, ...], Selection]:
    """What the native account makes of it, without channels whose readings are impossible."""
    made, chosen = account(recording, start_ns, end_ns, phase)
    solved = made.solve()
    length_s = (end_ns - start_ns) / host.NS_PER_S
    faults = find_faults(recording.channels, solved["channels"], length_s)
    if faults:
        recording = replace(recording, channels=without(recording.channels, faults))
        made, chosen = account(recording, start_ns, end_ns, phase)
        solved = made.solve()
    return recording, solved, faults, chosen


def believed(recording: Recording, report: EnergyReport) -> Recording:
    """The recording with those channels counted that the report counts."""
    counted = {row.id for row in report.channel_rows if row.counted and row.energy_j is not None}
    channels = tuple(row.replace(counted=row.id in counted) for row in recording.channels)
    return replace(recording, channels=channels)


def _doubts(faults: Sequence[Fault], checks: Mapping[str, Check]) -> Iterable[str]:
    """What is to be said of sensors that can't be believed, or don't agree."""
    yield from (fault.text for fault in faults)
    left_out = {fault.channel for fault in faults}
    for channel, check in checks.items():
        if check.verdict == "disagree" and channel not in left_out:
            yield check.text


def account(
    recording: Recording,
    start_ns: int,
    end_ns: int,
    phase: str,
    times_ns: Sequence[int] = (),
) -> tuple[_native.Account, Selection]:
    """The native account with all that it needs of the recording in it.

    ``times_ns`` are moments that will be asked for beside those of the marks.
    """
    try:
        made = _native.Account(recording.channels, start_ns, end_ns, phase)
    except ValueError as error:
        raise RecordingError(f"{recording.path or 'the recording'} is damaged: {error}") from None
    for process, marks in recording.marks:
        made.add_marks(process, marks, recording.shift_ns(process))
    chosen = select(recording, sorted({*made.times_ns(), *times_ns}))
    for frames in chosen.frames:
        made.add_frames(frames)
    chosen.frames.clear()  # of a long recording very many
    for channel, rolls in chosen.rolls.items():
        made.add_rolls(channel, rolls)
    return made, chosen


def _run(recording: Recording, start_ns: int, end_ns: int) -> Run:
    process = recording.process
    anchor = host.Anchor(process.mono_ns, process.boot_ns, process.wall_ns)
    return Run(
        id=recording.id,
        command=process.command,
        host=process.host,
        boot_id=process.boot_id,
        start_utc=host.utc_text(anchor.wall_of(start_ns)),
        start_mono_ns=start_ns,
        end_mono_ns=end_ns,
        duration_s=(end_ns - start_ns) / host.NS_PER_S,
        exit_status=process.exit_status,
        signal=process.signal,
        complete=recording.complete,
        scope=_scope(recording.channels),
        covers=recording.scope,
    )


def _is_shown(channel: _native.Channel) -> bool:
    """Not what holds no joules, nor what is only held beside another sensor."""
    joules = channel.domain not in (usage.USE, conditions.CONDITION)
    return joules and (channel.counted or not is_beside(channel))


def _scope(channels: Sequence[_native.Channel]) -> str:
    """Of the whole: that of the job's devices, if nothing else is counted."""
    scopes = {channel.scope for channel in channels if channel.counted}
    return scopes.pop() if len(scopes) == 1 else "node"


def _channels(
    recording: Recording,
    solved: Sequence[Mapping[str, Any] | None],
    faults: Sequence[Fault],
    checks: Mapping[str, Check],
) -> Iterable[Channel]:
    wrong = {fault.channel: fault for fault in faults}
    for index, (channel, numbers) in enumerate(zip(recording.channels, solved, strict=True)):
        if not _is_shown(channel):
            continue
        made = replace(
            _channel(channel, numbers or {}, checks.get(channel.id)),
            update_spread_s=recording.stats.get(f"channels/{index}/update_spread_s"),
        )
        fault = wrong.get(channel.id)
        yield made if fault is None else _unbelieved(made, fault)


def _unbelieved(channel: Channel, fault: Fault) -> Channel:
    """Unknown; counted as missing unless another channel stands for it."""
    return replace(
        channel,
        counted=fault.instead is None,
        quality=UNMEASURED,
        energy_j=None,
        low_j=None,
        high_j=None,
        mean_w=None,
        peak_w=None,
        bound={},
        reason=fault.text.partition(": ")[2],
    )


def _channel(channel: _native.Channel, given: Mapping[str, Any], check: Check | None) -> Channel:
    return Channel(
        id=channel.id,
        domain=channel.domain,
        device=channel.device,
        uuid=channel.uuid or None,
        parent=channel.parent or None,
        counted=channel.counted,
        scope=channel.scope,
        quality=channel.quality,
        method=channel.method,
        energy_j=given.get("energy_j"),
        low_j=given.get("low_j"),
        high_j=given.get("high_j"),
        tolerance=channel.tolerance,
        mean_w=given.get("mean_w"),
        peak_w=given.get("peak_w"),
        coverage=given.get("coverage"),
        update_period_s=given.get("update_period_s"),
        source=channel.source,
        reason=channel.reason or None,
        bound=given.get("bound", {}),
        check=check,
    )


class _Beside:
    """Channels of one domain that hold no joules, and what was solved of them."""

    _COVERED = 0.9

    def __init__(
        self, domain: str, channels: Sequence[_native.Channel], solved: Mapping[str, Any]
    ) -> None:
        self.channels = [row for row in channels if row.domain == domain]
        numbers = zip(channels, solved["channels"], strict=True)
        self.run = {
            channel.id: found["energy_j"]
            for channel, found in numbers
            if channel.domain == domain
            and found is not None
            and (found["coverage"] or 0.0) >= self._COVERED
        }
        self.stages = [self._known(channels, row["channels_j"]) for row in solved["stages"]]

    def _known(
        self, channels: Sequence[_native.Channel], values: Sequence[float | None]
    ) -> dict[str, float]:
        if not self.run:
            return {}
        pairs = zip(channels, values, strict=True)
        return {row.id: v for row, v in pairs if row.id in self.run and v is not None}


def _with_shares(report: EnergyReport, used: _Beside, baseline: Baseline | None) -> EnergyReport:
    """The report with the rows of who used its devices."""
    if not used.run:
        return report
    return usage.share(report, used.channels, used.run, used.stages, baseline)


def _with_conditions(report: EnergyReport, state: _Beside) -> EnergyReport:
    """The report with what explains the power of its GPUs."""
    if not state.run:
        return report
    stages = tuple(
        replace(row, conditions=tuple(conditions.means(state.channels, sums, row.wall_s)))
        for row, sums in zip(report.stage_rows, state.stages, strict=True)
    )
    whole = tuple(conditions.means(state.channels, state.run, report.run.duration_s))
    return replace(report, stage_rows=stages, conditions=whole)


def _stage(
    row: Mapping[str, Any], recorded: Sequence[_native.Channel], channels: Sequence[Channel]
) -> Stage:
    every = dict(zip((channel.id for channel in recorded), row["channels_j"], strict=True))
    joules = {
        channel.id: None if channel.quality == UNMEASURED else every[channel.id]
        for channel in channels
    }
    unresolved = tuple(recorded[index].id for index in row["unresolved"])
    return Stage(
        path=row["path"],
        phase=row["phase"],
        count=row["count"],
        processes=row["processes"],
        duration_s=row["duration_s"],
        wall_s=row["wall_s"],
        energy_j=row["energy_j"],
        low_j=row["low_j"],
        high_j=row["high_j"],
        self_energy_j=row["self_energy_j"],
        resolved=not unresolved,
        unresolved=unresolved,
        by_quality=_sums((c.quality, joules[c.id]) for c in channels if c.counted),
        channels=joules,
        cut=row["cut"],
        solved=tuple(
            Solved(**{**solved, "channel": recorded[solved["channel"]].id})
            for solved in row["solved"]
        ),
        bound=row["bound"],
        sync=0 < row["count"] == row["synced"],
    )


# Of a stage's energy: less on GPUs than this, and their queue hardly matters.
_ON_GPUS = 0.05


def _asynchronous(stages: Sequence[Stage], channels: Sequence[Channel]) -> Iterable[str]:
    """One warning for all stages that used a GPU and did not wait for it."""
    gpus = [row.id for row in channels if row.counted and row.domain == "gpu"]
    names = [
        row.path
        for row in stages
        if row.path and not row.sync and _joules(row, gpus) > _ON_GPUS * (row.energy_j or math.inf)
    ]
    if names:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield (
            f"GPUs work asynchronously, and stages did not wait for them at their ends ({shown}): "
            "work that was still queued counts for what came after; sync=True waits"
        )


def _joules(row: Stage, channels: Iterable[str]) -> float:
    return sum(row.channels.get(channel) or 0.0 for channel in channels)


def _total(solved: Mapping[str, Any], channels: Sequence[Channel]) -> Total:
    counted = [channel for channel in channels if channel.counted]
    return Total(
        energy_j=solved["energy_j"],
        low_j=solved["low_j"],
        high_j=solved["high_j"],
        by_quality=_sums((channel.quality, channel.energy_j) for channel in counted),
        by_domain=_sums((channel.domain, channel.energy_j) for channel in counted),
        unmeasured=tuple(channel.id for channel in counted if channel.energy_j is None),
        bound=solved["stages"][0]["bound"],
    )


def _sums(parts: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Joules per name; what is unknown adds no name."""
    sums: dict[str, float] = {}
    for name, energy_j in parts:
        if energy_j is not None:
            sums[name] = sums.get(name, 0.0) + energy_j
    return sums


def _events(
    recording: Recording,
    chosen: Selection,
    solved: Mapping[str, Any],
    start_ns: int,
    doubts: Iterable[str],
) -> tuple[Event, ...]:
    hidden = {i for i, row in enumerate(recording.channels) if not _is_shown(row)}
    found = [
        Incident(t_ns, kind, channel, count, text)
        for channel, t_ns, kind, count, text in solved["events"]
    ]
    words = (*recording.defects, *chosen.defects, *_damage(solved), *doubts)
    notes = [Incident(start_ns, "note", -1, 1, text) for text in words]
    incidents = (*recording.incidents, *_sum_wraps((*chosen.findings, *found)), *notes)
    events = [_event(recording, each, start_ns) for each in incidents if each.channel not in hidden]
    return tuple(sorted(events, key=lambda event: event.t_s))


def _sum_wraps(found: Sequence[Incident]) -> Iterable[Incident]:
    """Wraps of a channel as one event, wherever they were found."""
    wraps: dict[int, Incident] = {}
    for incident in found:
        if incident.kind != "wrap":
            yield incident
        elif (first := wraps.get(incident.channel)) is None:
            wraps[incident.channel] = incident
        else:
            count = first.count + incident.count
            wraps[incident.channel] = replace(min(first, incident, key=_when), count=count)
    yield from wraps.values()


def _when(incident: Incident) -> int:
    return incident.t_ns


def _damage(solved: Mapping[str, Any]) -> Iterable[str]:
    if solved["damaged_bytes"]:
        yield f"{solved['damaged_bytes']} damaged bytes of readings or stages were left out"


def _event(recording: Recording, incident: Incident, start_ns: int) -> Event:
    known = 0 <= incident.channel < len(recording.channels)
    return Event(
        t_s=max(incident.t_ns - start_ns, 0) / host.NS_PER_S,
        kind=incident.kind,
        channel=recording.channels[incident.channel].id if known else None,
        count=incident.count,
        text=incident.text,
    )


def _overhead(recording: Recording) -> Overhead:
    """What sampling cost; not known before the end, as the sampler's counts lag behind."""
    stats = recording.stats if recording.complete else {}
    cpu_s = stats.get("cpu_s")
    duration_s = (recording.end_ns - recording.start_ns) / host.NS_PER_S
    return Overhead(
        cpu_s=cpu_s,
        cpu_percent=None if cpu_s is None or duration_s <= 0 else 100.0 * cpu_s / duration_s,
        wakes=_whole(stats.get("wakes")),
        reads=_whole(stats.get("reads")),
        late=_whole(stats.get("late")),
        failed_reads=_whole(stats.get("failed_reads")),
        unseen=_whole(stats.get("unseen")),
        thinned=_whole(stats.get("thinned")),
        slowed=_whole(stats.get("slowed")),
        sources=tuple(_source_costs(stats)) if stats else None,
    )


def _source_costs(stats: Mapping[str, float]) -> Iterable[SourceCost]:
    """The rows ``sources/NAME/...`` of the sampler's own account."""
    end = "/p50_s"
    names = (
        key[len("sources/") : -len(end)]
        for key in stats
        if key.startswith("sources/") and key.endswith(end)
    )
    for name in names:
        of = {key: stats.get(f"sources/{name}/{key}", 0.0) for key in _COST_KEYS}
        yield SourceCost(
            name=name,
            reads=int(of["reads"]),
            failed_reads=int(of["failed_reads"]),
            p50_s=of["p50_s"],
            p99_s=of["p99_s"],
            total_s=of["total_s"],
        )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
