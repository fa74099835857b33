"""A power signal, and its energy in closed form."""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

NS_PER_S = 1_000_000_000


def to_ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


@dataclass(frozen=True, slots=True)
class Segment:
    """Power runs straight from ``start_w`` to ``end_w`` while ``duration_ns`` pass."""

    duration_ns: int
    start_w: float
    end_w: float

    @property
    def energy_j(self) -> Fraction:
        return self.energy_up_to_j(self.duration_ns)

    def power_w(self, into_ns: int) -> Fraction:
        rise_w = Fraction(self.end_w) - Fraction(self.start_w)
        return Fraction(self.start_w) + rise_w * Fraction(into_ns, self.duration_ns)

    def energy_up_to_j(self, into_ns: int) -> Fraction:
        mean_w = (Fraction(self.start_w) + self.power_w(into_ns)) / 2
        return mean_w * Fraction(into_ns, NS_PER_S)

    def cut(self, from_ns: int, until_ns: int) -> Segment:
        start_w, end_w = float(self.power_w(from_ns)), float(self.power_w(until_ns))
        return Segment(until_ns - from_ns, start_w, end_w)


@dataclass(frozen=True, slots=True)
class Signal:
    """Segments, once or for ever; answers exactly, with rational numbers.

    Written apart from the native signal on purpose: each is the other's check. A repeated signal
    reaches back before 0; one that is played once holds its first and its last power.
    """

    segments: tuple[Segment, ...]
    repeat: bool = True
    _starts_ns: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _before_j: tuple[Fraction, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.segments:
            raise ValueError("a signal needs at least one segment")
        if any(each.duration_ns <= 0 for each in self.segments):
            raise ValueError("a segment must last longer than 0 ns")
        starts_ns = tuple(accumulate((each.duration_ns for each in self.segments), initial=0))
        before_j = tuple(accumulate((each.energy_j for each in self.segments), initial=Fraction(0)))
        object.__setattr__(self, "_starts_ns", starts_ns)
        object.__setattr__(self, "_before_j", before_j)

    @property
    def length_ns(self) -> int:
        return self._starts_ns[-1]

    def _place(self, t_ns: int) -> tuple[int, int]:
        """Index of the segment that holds a time within one pass, and the time into it."""
        index = bisect_right(self._starts_ns, t_ns, hi=len(self.segments)) - 1
        return index, t_ns - self._starts_ns[index]

    def power_w(self, t_ns: int) -> float:
        if self.repeat:
            t_ns %= self.length_ns
        elif t_ns < 0:
            return self.segments[0].start_w
        elif t_ns >= self.length_ns:
            return self.segments[-1].end_w
        index, into_ns = self._place(t_ns)
        return float(self.segments[index].power_w(into_ns))

    def exact_energy_j(self, t_ns: int) -> Fraction:
        """The integral from 0 to ``t_ns``, negative before 0."""
        passes, within_ns = divmod(t_ns, self.length_ns) if self.repeat else (0, t_ns)
        if within_ns < 0:
            return Fraction(self.segments[0].start_w) * Fraction(within_ns, NS_PER_S)
        held_ns = max(0, within_ns - self.length_ns)
        index, into_ns = self._place(within_ns - held_ns)
        inside_j = self._before_j[index] + self.segments[index].energy_up_to_j(into_ns)
        held_j = Fraction(self.segments[-1].end_w) * Fraction(held_ns, NS_PER_S)
        return passes * self._before_j[-1] + inside_j + held_j

    def energy_j(self, t_ns: int) -> float:
        return float(self.exact_energy_j(t_ns))

    def between_j(self, from_ns: int, to_ns: int) -> float:
        return float(self.exact_energy_j(to_ns) - self.exact_energy_j(from_ns))

    def mean_w(self, from_ns: int, to_ns: int) -> float:
        if to_ns <= from_ns:
            return self.power_w(from_ns)
        return self.between_j(from_ns, to_ns) / ((to_ns - from_ns) / NS_PER_S)

    def delayed(self, delay_s: float) -> Signal:
        """A repeated signal, begun ``delay_s`` later: what ended there now comes first."""
        cut_ns = -to_ns(delay_s) % self.length_ns
        if not self.repeat or cut_ns == 0:
            return self
        index, into_ns = self._place(cut_ns)
        tail = self.segments[index:]
        head = self.segments[:index]
        if into_ns:
            whole = self.segments[index]
            tail = (whole.cut(into_ns, whole.duration_ns), *tail[1:])
            head = (*head, whole.cut(0, into_ns))
        return Signal((*tail, *head), True)


def steps(levels: Iterable[tuple[float, float]], *, repeat: bool = True) -> Signal:
    """Flat pieces: pairs of watts and seconds."""
    return Signal(tuple(Segment(to_ns(s), w, w) for w, s in levels), repeat)


def constant(power_w: float) -> Signal:
    return steps([(power_w, 1.0)])


def square(
    low_w: float, high_w: float, *, period_s: float = 1.0, duty: float = 0.5, delay_s: float = 0.0
) -> Signal:
    """High for the first ``duty`` of each period."""
    high_s = period_s * duty
    return steps([(high_w, high_s), (low_w, period_s - high_s)]).delayed(delay_s)


def ramp(start_w: float, end_w: float, duration_s: float, *, repeat: bool = False) -> Signal:
    return Signal((Segment(to_ns(duration_s), start_w, end_w),), repeat)


def triangle(low_w: float, high_w: float, *, period_s: float = 1.0) -> Signal:
    half_ns = to_ns(period_s / 2)
    return Signal((Segment(half_ns, low_w, high_w), Segment(half_ns, high_w, low_w)))


def bursts(idle_w: float, peak_w: float, *, burst_s: float, every_s: float) -> Signal:
    """Idle, with one short burst in the middle of each interval."""
    quiet_s = (every_s - burst_s) / 2
    return steps([(idle_w, quiet_s), (peak_w, burst_s), (idle_w, quiet_s)])


def training(
    levels_w: Sequence[float] = (250.0, 420.0, 650.0),
    spans_s: Sequence[float] = (0.10, 0.12, 0.18),
    *,
    delay_s: float = 0.0,
) -> Signal:
    """The steps of a training loop: loading, forward, backward."""
    return steps(zip(levels_w, spans_s, strict=True)).delayed(delay_s)


def recorded(path: Path, *, repeat: bool = False) -> Signal:
    """Straight lines between the rows ``seconds,watts`` of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    points = [(to_ns(float(row[0])), float(row[1])) for row in rows if _is_number(row[0])]
    pairs = pairwise(points)
    return Signal(tuple(Segment(t1 - t0, w0, w1) for (t0, w0), (t1, w1) in pairs), repeat)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
