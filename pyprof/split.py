"""Idle from dynamic energy by a baseline, and what a reading of the whole leaves for no sensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pyprof.baseline import AtRest, Baseline
from pyprof.energy import Channel, EnergyReport, Remainder, Rest, Split, Stage, Total

# A run that stays below this share of its power at rest says that the baseline was none.
_BELOW = 0.95
_WHOLE_RUN = 0.98


def split_idle(report: EnergyReport, baseline: Baseline) -> EnergyReport:
    """``report`` with idle and dynamic energy apart, where the baseline knows the device."""
    rests = {row.id: rest for row in report.channel_rows if (rest := baseline.rest_of(row))}
    channels = tuple(
        replace(row, split=_split([(row.energy_j, rests.get(row.id))], report.run.duration_s))
        for row in report.channel_rows
    )
    counted = [row for row in channels if row.counted]
    return replace(
        report,
        channel_rows=channels,
        stage_rows=tuple(_stage(row, counted, rests) for row in report.stage_rows),
        total=_total(report.total, counted),
        baseline=Rest(
            made_utc=baseline.made_utc,
            duration_s=baseline.duration_s,
            measurements=len(baseline.measurements),
            host=baseline.place.host,
            power_w={name: rest.power_w for name, rest in rests.items()},
            unsplit=tuple(
                row.id for row in counted if row.energy_j is not None and row.split is None
            ),
            notes=(*baseline.notes(), *_too_low(counted, rests, report.run.duration_s)),
        ),
    )


def _stage(row: Stage, counted: Sequence[Channel], rests: Mapping[str, AtRest]) -> Stage:
    parts = [(row.channels.get(channel.id), rests.get(channel.id)) for channel in counted]
    return replace(row, split=_split(parts, row.wall_s))


def _split(parts: Iterable[tuple[float | None, AtRest | None]], length_s: float) -> Split | None:
    """The sum over devices whose energy and power at rest are known; None if there is none."""
    known = [(energy_j, rest) for energy_j, rest in parts if energy_j is not None and rest]
    if not known:
        return None

    def idle(watts: Callable[[AtRest], float]) -> float:
        return sum(min(e, max(0.0, watts(rest)) * length_s) for e, rest in known)

    idle_j = idle(lambda rest: rest.power_w)
    return Split(
        idle_j=idle_j,
        idle_low_j=idle(lambda rest: rest.low_w),
        idle_high_j=idle(lambda rest: rest.high_w),
        dynamic_j=max(0.0, sum(energy_j for energy_j, _ in known) - idle_j),
    )


def _total(total: Total, counted: Sequence[Channel]) -> Total:
    splits = [row.split for row in counted if row.split]
    if not splits:
        return total
    names = ("idle_j", "idle_low_j", "idle_high_j", "dynamic_j")
    return replace(
        total, split=Split(**{name: sum(getattr(s, name) for s in splits) for name in names})
    )


def _too_low(
    counted: Sequence[Channel], rests: Mapping[str, AtRest], length_s: float
) -> Iterable[str]:
    """Devices that drew less in the run than the baseline says they do at rest."""
    for row in counted:
        rest = rests.get(row.id)
        if rest is None or row.high_j is None or length_s <= 0 or (row.coverage or 0) < _WHOLE_RUN:
            continue
        if row.high_j < _BELOW * rest.low_w * length_s:
            yield (
                f"{row.id} drew {row.high_j / length_s:.1f} W at most in the run, less than the "
                f"{rest.low_w:.1f} W of the baseline: measure the baseline again, at rest"
            )


# -- what has no sensor ----------------------------------------------------------------------------

# What a reading of the whole holds: of the platform's own, processors and memory.
_PARTS_OF: Mapping[str, tuple[str, ...] | None] = {"psys": ("package", "dram"), "host": None}


def remainders(channels: Sequence[Channel]) -> tuple[Remainder, ...]:
    """For each reading of a whole that is not counted itself: it less its counted parts."""
    return tuple(
        _remainder(row, channels)
        for row in channels
        if row.domain in _PARTS_OF and not row.counted and row.energy_j is not None
    )


def _remainder(whole: Channel, channels: Sequence[Channel]) -> Remainder:
    domains = _PARTS_OF[whole.domain]
    inside = [row for row in channels if row.counted and (not domains or row.domain in domains)]
    parts = [row for row in inside if row.energy_j is not None]
    blank = Remainder(
        whole=whole.id,
        parts=tuple(row.id for row in parts),
        quality="modelled" if any(row.quality == "modelled" for row in parts) else "derived",
        energy_j=None,
        low_j=None,
        high_j=None,
        tolerance_j=None,
    )
    if not parts:
        return replace(blank, reason="no part of it is counted")
    short = [row.id for row in (whole, *parts) if (row.coverage or 0.0) < _WHOLE_RUN]
    if short:
        return replace(blank, reason=f"not known over the whole run: {', '.join(short)}")
    energy_j = (whole.energy_j or 0.0) - sum(row.energy_j or 0.0 for row in parts)
    down_j = math.hypot(_down(whole), *(_up(row) for row in parts))
    up_j = math.hypot(_up(whole), *(_down(row) for row in parts))
    tolerance_j = _tolerance((whole, *parts))
    if energy_j + up_j + (tolerance_j or 0.0) < 0:
        return replace(
            blank,
            tolerance_j=tolerance_j,
            reason=f"its parts used {-energy_j:.1f} J more than the whole: one of them is wrong",
        )
    missing = [row.id for row in inside if row.energy_j is None]
    return replace(
        blank,
        energy_j=max(0.0, energy_j),
        low_j=max(0.0, energy_j - down_j),
        high_j=max(0.0, energy_j + up_j),
        tolerance_j=tolerance_j,
        reason=f"holds what was not measured: {', '.join(missing)}" if missing else None,
    )


def _down(row: Channel) -> float:
    return (row.energy_j or 0.0) - (row.low_j or 0.0)


def _up(row: Channel) -> float:
    return (row.high_j or 0.0) - (row.energy_j or 0.0)


def _tolerance(rows: Iterable[Channel]) -> float | None:
    """Half-width for the sensors' own accuracy; models have theirs in their interval."""
    sensors = [row for row in rows if row.quality != "modelled"]
    if any(row.tolerance is None for row in sensors):
        return None
    return math.hypot(*((row.tolerance or 0.0) * (row.energy_j or 0.0) for row in sensors))
