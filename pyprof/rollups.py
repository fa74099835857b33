"""Energy, peak and coverage of each minute of a run, computed while its readings are sealed.

They let a report over weeks leave the readings themselves alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pyprof import _native
from pyprof.host import NS_PER_S
from pyprof.layout import Rollup

GRAIN_S = 60
_GRAIN_NS = GRAIN_S * NS_PER_S
#: A minute is closed when its end lies this far back: readings on both sides of it are then known.
_SETTLED_NS = 5 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Grains:
    """Minutes not closed yet: where they begin, and the readings that they need."""

    channels: Sequence[_native.Channel]
    from_ns: int
    frames: tuple[tuple[int, bytes], ...] = ()

    def add(self, frames: bytes) -> Grains:
        """With later readings."""
        if not frames:
            return self
        last_ns = max(info[4] for info in _native.frame_info(frames))
        return replace(self, frames=(*self.frames, (last_ns, frames)))

    def close(self, until_ns: int, *, whole: bool = True) -> tuple[Grains, list[Rollup]]:
        """Minutes that ended before ``until_ns``; not ``whole``: the last, shorter one as well."""
        rollups: list[Rollup] = []
        at_ns = self.from_ns
        settled_ns = until_ns - _SETTLED_NS if whole else until_ns
        while at_ns + _GRAIN_NS <= settled_ns:
            rollups += self._grain(at_ns, at_ns + _GRAIN_NS)
            at_ns += _GRAIN_NS
        if not whole and at_ns < until_ns:
            rollups += self._grain(at_ns, until_ns)
            at_ns = until_ns
        # One set of readings before the edge is kept, so that both sides see the same edge.
        needed = [i for i, (last_ns, _) in enumerate(self.frames) if last_ns >= at_ns - _SETTLED_NS]
        kept = self.frames[max(needed[0] - 1, 0) :] if needed else self.frames[-1:]
        return replace(self, from_ns=at_ns, frames=kept), rollups

    def _grain(self, from_ns: int, to_ns: int) -> list[Rollup]:
        account = _native.Account(self.channels, from_ns, to_ns, "training")
        for _, frames in self.frames:
            account.add_frames(frames)
        rollups = []
        for index, known in enumerate(account.solve()["channels"]):
            if known is not None:
                covered_s = (known["coverage"] or 0.0) * (to_ns - from_ns) / NS_PER_S
                energy_j, peak_w = known["energy_j"], known["peak_w"]
                rollups.append(Rollup(index, GRAIN_S, from_ns, energy_j, peak_w, covered_s))
        return rollups
