"""Energy over time from a recording: what its account says at the edges of windows.

Windows end where they are asked to, such as where an intensity changes, so that nothing is lost by
spreading a window's energy evenly over it. Without being asked they end on full steps of UTC:
seconds for some minutes, five minutes for a day, quarters or hours for weeks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from pyprof.carbon.intensity import parse_utc
from pyprof.carbon.ledger import Bin
from pyprof.errors import UsageError

_STEPS_S = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_MOST = 300
# Figures held at once: windows times rows.
_MOST_FIGURES = 2_000_000


class RunLike(Protocol):
    """When a run was."""

    @property
    def start_utc(self) -> str | None:
        """Its start on the wall clock."""

    @property
    def start_mono_ns(self) -> int:
        """Its start on the host's monotonic clock."""

    @property
    def end_mono_ns(self) -> int:
        """Its end on the same clock."""


#: Of every row (path, phase, joules of its own from the start up to each of some moments).
Own = Sequence[tuple[str, str, Sequence[float | None]]]


@dataclass(frozen=True)
class Windows:
    """When the energy of a run was used. ``own`` answers for all moments from one account.

    Windows are differences of what one account says, so they add up to it, however they are cut.
    """

    run: RunLike
    rows: int
    own: Callable[[Sequence[int]], Own]
    _known: dict[tuple[int, ...], Own] = field(default_factory=dict, repr=False, compare=False)

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[Bin]:
        """Bins of the run's energy, or of what is a row's own, cut at ``edges_s`` if given."""
        if self.run.start_utc is None:
            raise UsageError("the recording does not say when it was, so hours can't be priced")
        unix_s = parse_utc(self.run.start_utc, "the recording")
        edges_ns = tuple(self._edges(unix_s, edges_s))
        if edges_ns not in self._known:
            self._known[edges_ns] = self.own(edges_ns)
        found = [
            joules
            for row_path, row_phase, joules in self._known[edges_ns]
            if path is None or (row_path == path and phase in (None, row_phase))
        ]
        # Something is read or nothing is: rows are known at all moments or at none.
        known = [[each for each in joules if each is not None] for joules in found]
        if not known or not all(known):
            return []
        up_to = [math.fsum(each) for each in zip(*known, strict=True)]
        start_ns = self.run.start_mono_ns
        moments = [unix_s + (each - start_ns) * 1e-9 for each in edges_ns]
        pairs = zip(pairwise(moments), pairwise(up_to), strict=True)
        return [(start_s, end_s, after - before) for (start_s, end_s), (before, after) in pairs]

    def _edges(self, unix_s: float, edges_s: Sequence[float] | None) -> Iterator[int]:
        """Edges on the monotonic clock: the start, those between, the end."""
        start_ns, end_ns = self.run.start_mono_ns, self.run.end_mono_ns
        if edges_s is None:
            between = _full_steps(unix_s, start_ns, end_ns)
        else:
            asked = {start_ns + round((each - unix_s) * 1e9) for each in edges_s}
            inside = sorted(each for each in asked if start_ns < each < end_ns)
            between = inside[:: 1 + len(inside) * self.rows // _MOST_FIGURES]
        yield start_ns
        yield from between
        yield end_ns


def _full_steps(unix_s: float, start_ns: int, end_ns: int) -> Sequence[int]:
    """Full steps of UTC within a run, on the monotonic clock."""
    step_ns = round(_step_s((end_ns - start_ns) * 1e-9) * 1e9)
    return range(start_ns - round(unix_s * 1e9) % step_ns + step_ns, end_ns, step_ns)


def _step_s(duration_s: float) -> float:
    """As fine as keeps the windows few; full hours, which intensities have, at the coarsest."""
    return next((step_s for step_s in _STEPS_S if duration_s <= _MOST * step_s), _STEPS_S[-1])
