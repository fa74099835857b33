"""Carbon intensity over time, and energy priced at the hour it was used: the integral of P x I.

Mean power times mean intensity is right only where the two do not move together. Here every piece
of energy meets the intensity of its own time; where the series has no value, nothing is invented.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pyprof.carbon.factor import KINDS, LIFECYCLE, SIGNALS, Factor
from pyprof.carbon.ledger import Bin, Timed
from pyprof.carbon.table import Row, read_rows
from pyprof.errors import UsageError

_MOST_BINS = 1000


@dataclass(frozen=True, slots=True)
class Slot:
    """One value of the intensity and the time it holds for; low and high where it is unsure.

    ``estimated`` is a value that its provider forecast or modelled where a reading is missing.
    """

    start_s: float
    end_s: float
    g_per_kwh: float
    low_g: float | None = None
    high_g: float | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Intensity:
    """An intensity over time with its provenance. Slots are in order and do not overlap."""

    slots: tuple[Slot, ...]
    zone: str | None = None
    kind: str = LIFECYCLE
    signal: str = "average"
    source: str = "given by the user"
    licence: str = ""

    @property
    def start_s(self) -> float:
        """Where the series begins."""
        return self.slots[0].start_s

    @property
    def end_s(self) -> float:
        """Where the series ends."""
        return self.slots[-1].end_s

    @property
    def edges_s(self) -> list[float]:
        """The moments at which the intensity changes, or begins or ceases to be known."""
        return sorted({edge for slot in self.slots for edge in (slot.start_s, slot.end_s)})

    def factor(self, g_per_kwh: float) -> Factor:
        """The effective factor of an energy priced with this series."""
        first, last = utc_text(self.start_s), utc_text(self.end_s)
        return Factor(
            g_per_kwh=g_per_kwh,
            zone=self.zone,
            name=self.zone or "intensity over time",
            year=int(last[:4]),
            kind=self.kind,
            basis="over time",
            source=self.source,
            licence=self.licence,
            note=f"energy-weighted mean of {len(self.slots)} values, {first} to {last}",
            signal=self.signal,
        )


@dataclass(frozen=True, slots=True)
class Weighted:
    """Energy priced over time: grams, the joules that met a value and those that did not.

    ``estimated_j`` are those, among the covered, whose value was estimated.
    """

    grams: float
    low_g: float
    high_g: float
    covered_j: float
    estimated_j: float
    missing_j: float
    missing: tuple[tuple[float, float], ...]

    @property
    def g_per_kwh(self) -> float | None:
        """The effective intensity of the covered energy; None where nothing is covered."""
        return self.grams / self.covered_j * 3.6e6 if self.covered_j > 0.0 else None


@dataclass(frozen=True, slots=True)
class Shift:
    """The same run at another time."""

    start_s: float
    kg_co2e: float

    @property
    def start_utc(self) -> str:
        """When, in words."""
        return utc_text(self.start_s)


@dataclass(frozen=True, slots=True)
class Moved:
    """The same energy as if it had been used ``by_s`` seconds later."""

    timed: Timed
    by_s: float

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[Bin]:
        """The bins at their new time, cut there."""
        asked = None if edges_s is None else [edge - self.by_s for edge in edges_s]
        bins = self.timed.power_series(path, phase, asked)
        return [(start_s + self.by_s, end_s + self.by_s, j) for start_s, end_s, j in bins]


def begun_at(timed: Timed, start_s: float) -> Moved:
    """The same energy as if its run had begun at ``start_s``, seconds of Unix time."""
    starts = [each[0] for each in timed.power_series()]
    if not starts:
        raise UsageError("there is no energy over time that could be moved to another time")
    return Moved(timed, start_s - min(starts))


def weigh(bins: Iterable[Bin], intensity: Intensity) -> Weighted:
    """Every bin's energy at the intensity of its time; within a bin power is constant."""
    grams, low, high, covered, estimated, missing = [], [], [], [], [], []
    holes: list[tuple[float, float]] = []
    for start_s, end_s, energy_j in _check_bins(bins):
        met = 0.0
        for slot, share in _shares(intensity.slots, start_s, end_s):
            part_j = energy_j * share
            met += share
            covered.append(part_j)
            estimated.append(part_j if slot.estimated else 0.0)
            grams.append(part_j / 3.6e6 * slot.g_per_kwh)
            low.append(part_j / 3.6e6 * _or(slot.low_g, slot.g_per_kwh))
            high.append(part_j / 3.6e6 * _or(slot.high_g, slot.g_per_kwh))
        # A sum of shares misses 1 by rounding alone; an hour of a century is more than this.
        if energy_j > 0.0 and met < 1.0 - 1e-9:
            missing.append(energy_j * (1.0 - met))
            holes.append((start_s, end_s))
    return Weighted(
        grams=math.fsum(grams),
        low_g=math.fsum(low),
        high_g=math.fsum(high),
        covered_j=math.fsum(covered),
        estimated_j=math.fsum(estimated),
        missing_j=math.fsum(missing),
        missing=tuple(holes),
    )


def cleanest(bins: Sequence[Bin], intensity: Intensity) -> tuple[Shift, ...]:
    """The run begun at every value of the series that can hold it, cleanest first."""
    if not bins:
        return ()
    bins = _coarse(sorted(_check_bins(bins)))
    first_s, last_s = min(b[0] for b in bins), max(b[1] for b in bins)
    shifts = []
    for slot in intensity.slots:
        move_s = slot.start_s - first_s
        if last_s + move_s > intensity.end_s:
            break
        moved = weigh([(s + move_s, e + move_s, j) for s, e, j in bins], intensity)
        if not moved.missing:
            shifts.append(Shift(slot.start_s, moved.grams / 1000.0))
    return tuple(sorted(shifts, key=lambda shift: (shift.kg_co2e, shift.start_s)))


def _coarse(bins: Sequence[Bin]) -> list[Bin]:
    """Neighbouring bins joined until a thousand are left: weeks at 10 Hz are millions."""
    size = -(-len(bins) // _MOST_BINS)
    groups = [bins[at : at + size] for at in range(0, len(bins), size)]
    return [
        (group[0][0], max(each[1] for each in group), math.fsum(each[2] for each in group))
        for group in groups
    ]


def make_intensity(slots: Iterable[Slot], like: Intensity) -> Intensity:
    """A series with the provenance of ``like``, from slots in any order.

    Overlapping slots and an empty series are refused.
    """
    ordered = tuple(sorted(slots, key=lambda slot: slot.start_s))
    if not ordered:
        raise UsageError(f"{like.source}: no value in it")
    for before, after in pairwise(ordered):
        if after.start_s < before.end_s:
            raise UsageError(f"{like.source}: two values for {utc_text(after.start_s)}")
    return replace(like, slots=ordered)


def read_intensity(path: str) -> Intensity:
    """A series from a CSV with ``start_utc`` and ``g_per_kwh``, and ``end_utc`` if it has one.

    Without ``end_utc`` a value holds until the next one, but never longer than the usual step, so
    that a missing hour stays missing. Columns ``zone``, ``kind``, ``signal``, ``source`` and
    ``licence`` may say the provenance; they must be the same in every row.
    """
    rows = read_rows(path, ("start_utc", "g_per_kwh"))
    if not rows:
        raise UsageError(f"{path}: no value in it")
    starts = [parse_utc(row.required("start_utc"), row.where) for row in rows]
    ends = _ends(rows, starts)
    values = [row.number("g_per_kwh") for row in rows]
    slots = [Slot(s, e, g) for s, e, g in zip(starts, ends, values, strict=True)]
    like = Intensity(
        slots=(),
        zone=_same(rows, "zone", path) or None,
        kind=_one_of(_same(rows, "kind", path) or LIFECYCLE, KINDS, path),
        signal=_one_of(_same(rows, "signal", path) or "average", SIGNALS, path),
        source=_same(rows, "source", path) or path.rpartition("/")[2],
        licence=_same(rows, "licence", path),
    )
    return make_intensity(slots, like)


def parse_utc(text: str, where: str) -> float:
    """A time in ISO 8601, UTC unless it says otherwise, or in seconds of Unix time."""
    from datetime import datetime, timezone

    try:
        return _finite(float(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return aware.timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{where}: not a time: {text!r}; write 2026-01-31T13:00Z or Unix seconds"
        ) from None


def utc_text(unix_s: float) -> str:
    """A moment as ISO 8601 in UTC, to the minute."""
    from datetime import datetime, timezone

    return datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y-%m-%dT%H:%MZ")


def _finite(seconds: float) -> float:
    """Seconds that a calendar can hold."""
    if not 0.0 <= seconds < 32503680000.0:
        raise ValueError
    return seconds


def _shares(slots: Sequence[Slot], start_s: float, end_s: float) -> Iterator[tuple[Slot, float]]:
    """The slots that a bin meets, and the share of the bin in each."""
    from bisect import bisect_right

    first = max(0, bisect_right(slots, start_s, key=lambda slot: slot.start_s) - 1)
    if end_s == start_s:
        if slots and slots[first].start_s <= start_s < slots[first].end_s:
            yield slots[first], 1.0
        return
    for slot in slots[first:]:
        if slot.start_s >= end_s:
            break
        overlap = min(end_s, slot.end_s) - max(start_s, slot.start_s)
        if overlap > 0.0:
            yield slot, overlap / (end_s - start_s)


def _check_bins(bins: Iterable[Bin]) -> Iterator[Bin]:
    """Bins that make sense."""
    for start_s, end_s, energy_j in bins:
        if end_s < start_s or not all(map(math.isfinite, (start_s, end_s, energy_j))):
            raise UsageError("a power series has a bin that ends before it starts")
        yield start_s, end_s, energy_j


def _or(value: float | None, otherwise: float) -> float:
    """``value`` unless it is unknown."""
    return otherwise if value is None else value


def _ends(rows: Sequence[Row], starts: Sequence[float]) -> list[float]:
    """When each value ceases to hold."""
    import statistics

    if "end_utc" in rows[0].cells:
        ends = [parse_utc(row.required("end_utc"), row.where) for row in rows]
        for row, start_s, end_s in zip(rows, starts, ends, strict=True):
            if end_s <= start_s:
                raise UsageError(f"{row.where}: end_utc is not after start_utc")
        return ends
    ordered = sorted(set(starts))
    if len(ordered) < 2:
        raise UsageError(f"{rows[0].where}: one value alone needs end_utc to say how long it holds")
    steps = [after - before for before, after in pairwise(ordered)]
    usual = statistics.mode(steps)
    following = dict(zip(ordered, [*ordered[1:], ordered[-1] + usual], strict=True))
    return [min(following[start_s], start_s + usual) for start_s in starts]


def _same(rows: Sequence[Row], column: str, path: str) -> str:
    """A cell that every row shares; empty where there is none."""
    values = {row.text(column) for row in rows}
    if len(values) > 1:
        raise UsageError(f"{path}: the column {column!r} differs between rows: one series a file")
    return values.pop()


def _one_of(text: str, allowed: Sequence[str], path: str) -> str:
    """One of the allowed words."""
    if text not in allowed:
        raise UsageError(f"{path}: {text!r} is not one of {', '.join(allowed)}")
    return text
