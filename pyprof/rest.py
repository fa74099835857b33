"""Looking at a machine at rest, as gently as its sensors allow."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from pyprof import _native, host
from pyprof.baseline import AtRest, Measurement
from pyprof.errors import BaselineError
from pyprof.hardware import Look
from pyprof.integrate import account
from pyprof.sampling import Sampling
from pyprof.session import Session

# Waking a machine keeps it from its rest, so it is read seldom; its counters lose nothing by that.
_INTERVAL_S = 1.0
_READS_AT_LEAST = 100
# Drift and spread come from equal slices, each of at least this many updates that were seen.
_SLICES = 6
_UPDATES_PER_SLICE = 10


def measure(look: Look, duration_s: float) -> Measurement:
    """Mean power of every channel over ``duration_s``, with its spread and drift."""
    session = Session(
        look, out=None, sampling=Sampling(interval_s=_interval(duration_s)), baseline="none"
    )
    session.start()
    before = _ticks(look.proc)
    try:
        time.sleep(duration_s)
    finally:
        after = _ticks(look.proc)
        session.stop()
    recording = session.recording
    start_ns, end_ns = recording.start_ns, recording.end_ns
    solved, _ = account(recording, start_ns, end_ns, "development")
    found = solved.solve()["channels"]
    slices = solved.series(start_ns, end_ns, _SLICES)
    length_s = (end_ns - start_ns) / host.NS_PER_S
    rows = [
        _at_rest(channel, numbers, [row[index] for row in slices], length_s)
        for index, (channel, numbers) in enumerate(zip(recording.channels, found, strict=True))
        if numbers is not None
    ]
    if not rows:
        raise BaselineError(
            "nothing could be read, so there is no baseline: 'pyprof doctor' says what is missing"
        )
    process = recording.process
    anchor = host.Anchor(process.mono_ns, process.boot_ns, process.wall_ns)
    return Measurement(
        made_utc=host.utc_text(anchor.wall_of(start_ns)),
        duration_s=length_s,
        cpu_load=_load(before, after),
        channels=tuple(row for row in rows if row is not None),
    )


def _interval(duration_s: float) -> float:
    return min(_INTERVAL_S, duration_s / _READS_AT_LEAST)


def _at_rest(
    channel: _native.Channel,
    numbers: dict[str, float | None],
    slices_j: Sequence[float | None],
    length_s: float,
) -> AtRest | None:
    energy_j, low_j, high_j = (numbers[name] for name in ("energy_j", "low_j", "high_j"))
    if energy_j is None or low_j is None or high_j is None:
        return None
    seen_s = max(numbers["update_period_s"] or 0.0, _interval(length_s))
    powers = _powers(slices_j, seen_s, length_s)
    halves = _powers(slices_j, 0.0, length_s, most=2)
    return AtRest(
        id=channel.id,
        domain=channel.domain,
        device=channel.device,
        uuid=channel.uuid or None,
        quality=channel.quality,
        power_w=energy_j / length_s,
        low_w=min([low_j / length_s, *powers]),
        high_w=max([high_j / length_s, *powers]),
        drift_w=halves[1] - halves[0] if len(powers) > 1 and len(halves) == 2 else None,
    )


def _powers(
    slices_j: Sequence[float | None], period_s: float, length_s: float, most: int = _SLICES
) -> list[float]:
    """Mean power of equal parts, as many as the sensor's period allows; none if one is unknown."""
    known = [energy_j for energy_j in slices_j if energy_j is not None]
    if len(known) != _SLICES:
        return []
    parts = next(
        each
        for each in (6, 3, 2, 1)
        if each <= most and (each == 1 or length_s / each >= _UPDATES_PER_SLICE * period_s)
    )
    size = _SLICES // parts
    return [sum(known[at : at + size]) / (length_s / parts) for at in range(0, _SLICES, size)]


def _ticks(proc: str) -> tuple[int, int] | None:
    """Busy and all ticks of the machine's CPUs since its boot."""
    try:
        with open(os.path.join(proc, "stat"), encoding="ascii", errors="replace") as file:
            fields = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    if len(fields) < 4:
        return None
    fields += [0] * (8 - len(fields))
    idle = fields[3] + fields[4]
    return sum(fields[:7]) - idle, sum(fields)


def _load(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[1] <= before[1]:
        return None
    return max(0.0, after[0] - before[0]) / (after[1] - before[1])
