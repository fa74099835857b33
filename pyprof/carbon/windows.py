"""Energy over time from a recording: its report, asked window by window.

Windows end on full steps of UTC, as intensities do, so that spreading a window's energy evenly over
it loses nothing: seconds for some minutes, five minutes for a day, quarters or hours for weeks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pyprof.carbon.intensity import parse_utc
from pyprof.carbon.ledger import Bin, ReportLike
from pyprof.errors import UsageError

_STEPS_S = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_MOST = 300


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


@dataclass(frozen=True)
class Windows:
    """When the energy of a run was used. ``part`` reports on what lies between two moments."""

    run: RunLike
    part: Callable[[int, int], ReportLike]

    def power_series(self, path: str | None = None, phase: str | None = None) -> Sequence[Bin]:
        """Bins of the run's energy, or of what is a row's own."""
        bins = (
            (start_s, end_s, _energy_j(part, path, phase)) for start_s, end_s, part in self._parts
        )
        return [(start_s, end_s, joules) for start_s, end_s, joules in bins if joules is not None]

    @cached_property
    def _parts(self) -> list[tuple[float, float, ReportLike]]:
        """The report of every window."""
        run = self.run
        if run.start_utc is None:
            raise UsageError("the recording does not say when it was, so hours can't be priced")
        unix_s = parse_utc(run.start_utc, "the recording")
        return [
            (
                unix_s + (start_ns - run.start_mono_ns) * 1e-9,
                unix_s + (end_ns - run.start_mono_ns) * 1e-9,
                self.part(start_ns, end_ns),
            )
            for start_ns, end_ns in _windows(unix_s, run.start_mono_ns, run.end_mono_ns)
        ]


def _windows(unix_s: float, start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
    """Windows on the monotonic clock whose inner edges are full steps of UTC."""
    step_ns = round(_step_s((end_ns - start_ns) * 1e-9) * 1e9)
    into_ns = round(unix_s * 1e9) % step_ns
    at_ns = start_ns
    edge_ns = start_ns - into_ns + step_ns
    while edge_ns < end_ns:
        yield at_ns, edge_ns
        at_ns, edge_ns = edge_ns, edge_ns + step_ns
    if at_ns < end_ns:
        yield at_ns, end_ns


def _step_s(duration_s: float) -> float:
    """As fine as keeps the windows few; full hours, which intensities have, at the coarsest."""
    return next((step_s for step_s in _STEPS_S if duration_s <= _MOST * step_s), _STEPS_S[-1])


def _energy_j(part: ReportLike, path: str | None, phase: str | None) -> float | None:
    """The energy of a window, or what in it is a row's own; None is unknown."""
    if path is None:
        return part.total.energy_j
    own = [
        row.self_energy_j
        for row in part.stage_rows
        if row.path == path and phase in (None, row.phase)
    ]
    known = [joules for joules in own if joules is not None]
    return sum(known) if known else None
