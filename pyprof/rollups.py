"""Energy, peak and coverage of each minute and longer grains, made while readings are sealed.

They let a report over weeks leave the readings themselves alone, and stand for those given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from pyprof import _native
from pyprof.host import NS_PER_S
from pyprof.layout import Incident, Rollup

#: Each is a whole number of the ones before; they count from the run's start.
GRAINS_S = (60, 600, 3600, 86400)
#: Changes before a border that both sides of it need.
_CONTEXT = 8


@dataclass(frozen=True, slots=True)
class Ladder:
    """One channel's grains: closed up to ``from_ns``, the longer ones still being added up."""

    index: int
    channel: _native.Channel
    start_ns: int
    from_ns: int
    #: (changes, last read ns, frame), as far as later grains need them.
    frames: tuple[tuple[int, int, bytes], ...] = ()
    sums: tuple[Rollup, ...] = ()
    findings: dict[str, int] = field(default_factory=dict)

    def climb(
        self, sealed: Iterable[bytes], until_ns: int, *, last: bool = False
    ) -> tuple[Ladder, list[Rollup], list[Incident]]:
        """With later frames: what closes, and the gaps, wraps and resets of that time.

        ``last``: everything up to ``until_ns`` closes, in shorter grains where it must.
        """
        frames = list(self.frames)
        for frame in sealed:
            frames += [(info[2], info[4], frame) for info in _native.frame_info(frame)]
        rolls, events = _native.roll_up(
            self.channel,
            b"".join(frame for _, _, frame in frames),
            self.from_ns,
            GRAINS_S[0] * NS_PER_S,
            until_ns,
            last,
        )
        from_ns = rolls[-1][1] if rolls else self.from_ns
        minutes = [
            Rollup(self.index, GRAINS_S[0], start, energy, peak, covered, lost, variance)
            for start, _, energy, peak, covered, lost, variance in rolls
        ]
        sums, closed = self._add_up(minutes, last=last)
        found = [Incident(t, kind, self.index, count, text) for t, kind, count, text in events]
        later = replace(self, from_ns=from_ns, frames=_needed(frames, from_ns), sums=sums)
        return later, closed, found

    def _add_up(
        self, minutes: Sequence[Rollup], *, last: bool
    ) -> tuple[tuple[Rollup, ...], list[Rollup]]:
        """The minutes themselves, and the longer grains that end with one of them."""
        closed: list[Rollup] = []
        sums = {rollup.grain_s: rollup for rollup in self.sums}
        for minute in minutes:
            closed.append(minute)
            for grain_s in GRAINS_S[1:]:
                into_ns = minute.start_ns - self.start_ns
                whole = sums.get(grain_s)
                if whole is None:
                    begun_ns = minute.start_ns - into_ns % (grain_s * NS_PER_S)
                    whole = Rollup(self.index, grain_s, begun_ns, 0.0, None, 0.0, 0.0, 0.0)
                sums[grain_s] = whole = _plus(whole, minute)
                if minute.end_ns == whole.end_ns or (last and minute is minutes[-1]):
                    closed.append(sums.pop(grain_s))
        return tuple(sums.values()), closed


def _plus(whole: Rollup, part: Rollup) -> Rollup:
    """The longer one with one more minute; unknown energy stays unknown."""
    known = whole.energy_j is not None and part.energy_j is not None
    peaks = [peak for peak in (whole.peak_w, part.peak_w) if peak is not None]
    return replace(
        whole,
        energy_j=(whole.energy_j or 0.0) + (part.energy_j or 0.0) if known else None,
        peak_w=max(peaks, default=None),
        covered_s=whole.covered_s + part.covered_s,
        lost_j=whole.lost_j + part.lost_j,
        variance_j2=whole.variance_j2 + part.variance_j2,
    )


def _needed(
    frames: Sequence[tuple[int, int, bytes]], from_ns: int
) -> tuple[tuple[int, int, bytes], ...]:
    """Frames that reach beyond a border, and enough changes before it."""
    at = len(frames)
    early = 0
    while at > 0 and early < _CONTEXT:
        at -= 1
        count, last_ns, _ = frames[at]
        if last_ns < from_ns:
            early += count
    return tuple(frames[at:])
