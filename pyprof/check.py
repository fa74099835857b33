"""Whether a sensor can be believed: held beside a second one, and within what is possible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyprof.energy import Check

if TYPE_CHECKING:
    from pyprof import _native
    from pyprof.hardware import Machine

_NVML = "nvml"
_BESIDE = "power"
# For a pair of sensors of which one states no accuracy.
_ASSUMED_TOLERANCE = 0.05
# A ratio known no better than this says nothing.
_VAGUE = 0.25
# A counter that never moved for this long is stuck: with a second sensor that reads power, without.
_STUCK_S, _STUCK_ALONE_S = 1.0, 3.0
_UPDATES = 10
_LEAST_W = 1.0
_COVERED = 0.5

Solved = Sequence[Mapping[str, Any] | None]


def is_beside(channel: _native.Channel) -> bool:
    """Whether it is only there to be held beside the channel around it."""
    return bool(channel.parent) and channel.id == f"{channel.parent}/{_BESIDE}"


def watch_beside(machine: Machine) -> Machine:
    """The machine with the power of each NVIDIA GPU that is read by its counter."""
    if machine.native is None:
        return machine
    for row in machine.channels:
        if row.source == _NVML and row.kind == "counter" and row.counted:
            machine.native.add_power_beside(row)
    return replace(machine, channels=tuple(machine.native.channels))


# -- two sensors of one device ---------------------------------------------------------------------


def find_checks(channels: Sequence[_native.Channel], solved: Solved) -> dict[str, Check]:
    """By channel id: its energy over that of the sensor beside it."""
    found = {row.id: (row, numbers) for row, numbers in zip(channels, solved, strict=True)}
    checks: dict[str, Check] = {}
    for row, numbers in found.values():
        counter = found.get(row.parent)
        if not is_beside(row) or counter is None or numbers is None or counter[1] is None:
            continue
        checks[row.parent] = _check(counter[0], counter[1], row, numbers)
    return checks


def _check(
    counter: _native.Channel,
    counted: Mapping[str, Any],
    beside: _native.Channel,
    integrated: Mapping[str, Any],
) -> Check:
    counter_j, power_j = counted["energy_j"], integrated["energy_j"]
    against = f"{beside.method} integrated"
    whole = min(counted["coverage"] or 0.0, integrated["coverage"] or 0.0) > _COVERED
    if not whole or power_j <= 0:
        return Check(against, None, None, None, "unresolved", "one of the two was hardly read")
    ratio = counter_j / power_j
    low = counted["low_j"] / integrated["high_j"]
    high = counted["high_j"] / integrated["low_j"] if integrated["low_j"] > 0 else math.inf
    tolerance = sum(
        _ASSUMED_TOLERANCE if row.tolerance is None else row.tolerance for row in (counter, beside)
    )
    finite_high = high if math.isfinite(high) else None
    if high - low > 2 * _VAGUE:
        text = "the run is too short, or its load too uneven, to tell"
        return Check(against, ratio, low, finite_high, "unresolved", text)
    if low <= 1 + tolerance and high >= 1 - tolerance:
        return Check(against, ratio, low, finite_high, "agree", "within the accuracy of both")
    text = (
        f"the counter of {counter.id} shows {counter_j:.6g} J and its {against} {power_j:.6g} J, "
        f"further apart than their accuracy ({100 * tolerance:g} %): one of them is wrong"
    )
    return Check(against, ratio, low, finite_high, "disagree", text)


# -- what can't be ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A channel that can't be believed, why, and the one that counts instead, if there is one."""

    channel: str
    reason: str
    instead: str | None = None

    @property
    def text(self) -> str:
        """For the events."""
        rest = f"; {self.instead} counts instead" if self.instead else ""
        return f"{self.channel} is left out: {self.reason}{rest}"


def find_faults(
    channels: Sequence[_native.Channel], solved: Solved, length_s: float
) -> tuple[Fault, ...]:
    """Counted channels whose readings are impossible."""
    pairs = list(zip(channels, solved, strict=True))
    beside = {row.parent: (row, numbers) for row, numbers in pairs if is_beside(row) and numbers}
    return tuple(_faults(pairs, beside, length_s))


def _faults(
    pairs: Sequence[tuple[_native.Channel, Mapping[str, Any] | None]],
    beside: Mapping[str, tuple[_native.Channel, Mapping[str, Any]]],
    length_s: float,
) -> Iterator[Fault]:
    for row, numbers in pairs:
        if not row.counted or numbers is None or row.quality == "modelled":
            continue
        second = beside.get(row.id)
        reason = _why_impossible(row, numbers, second, length_s)
        if reason is None:
            continue
        good = second is not None and not _is_excessive(*second, length_s)
        yield Fault(row.id, reason, second[0].id if second is not None and good else None)


def _why_impossible(
    row: _native.Channel,
    numbers: Mapping[str, Any],
    second: tuple[_native.Channel, Mapping[str, Any]] | None,
    length_s: float,
) -> str | None:
    if _is_excessive(row, numbers, length_s):
        return (
            f"{numbers['mean_w']:.6g} W on average is beyond the {row.limit_w:.6g} W that it could "
            "ever draw"
        )
    seen_s = length_s * (numbers["coverage"] or 0.0)
    if row.kind != "counter" or numbers["energy_j"] != 0 or not seen_s:
        return None
    period_s = (numbers["update_period_s"] or 0.0) or row.period_ns * 1e-9
    if second is None:
        if seen_s < max(_STUCK_ALONE_S, _UPDATES * period_s):
            return None
        return f"its counter stood still for {seen_s:.1f} s, and what is on uses energy"
    power_w = second[1]["mean_w"] or 0.0
    if power_w < _LEAST_W or seen_s < max(_STUCK_S, _UPDATES * period_s):
        return None
    return (
        f"its counter stood still for {seen_s:.1f} s while its sensor of power read {power_w:.1f} W"
    )


def _is_excessive(row: _native.Channel, numbers: Mapping[str, Any], length_s: float) -> bool:
    """Whether not even the least that the readings allow could have been drawn."""
    seen_s = length_s * (numbers["coverage"] or 0.0)
    return 0 < row.limit_w * seen_s < numbers["low_j"] and seen_s >= _STUCK_S


def without(
    channels: Sequence[_native.Channel], faults: Sequence[Fault]
) -> tuple[_native.Channel, ...]:
    """The channels with the faulty ones not counted, and those that take their place counted."""
    wrong = {fault.channel: fault for fault in faults}
    promoted = {fault.instead: fault for fault in faults if fault.instead}
    return tuple(
        row.replace(counted=False, reason=wrong[row.id].reason)
        if row.id in wrong
        else row.replace(counted=True, parent="", reason=promoted[row.id].text)
        if row.id in promoted
        else row
        for row in channels
    )
