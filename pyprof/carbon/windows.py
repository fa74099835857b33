"""Energy over time from a recording: its report, asked window by window.

Windows end on full five minutes, quarters or hours of UTC, as intensities do, so that spreading a
window's energy evenly over it loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from pyprof.carbon.intensity import Bin, parse_utc
from pyprof.carbon.ledger import ChannelLike, ReportLike, StageLike, TotalLike
from pyprof.errors import UsageError

_DAY_S = 86400.0


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


class RecordingLike(Protocol):
    """A recording that reports on any part of itself."""

    def report(self, *, start_ns: int | None = None, end_ns: int | None = None) -> Any:
        """The report of the part between two moments of the monotonic clock."""


@dataclass(frozen=True)
class WindowedReport:
    """The report of a recording, with its energy over time."""

    recording: RecordingLike
    whole: Any

    @property
    def total(self) -> TotalLike:
        """Sum over counted channels."""
        total: TotalLike = self.whole.total
        return total

    @property
    def stage_rows(self) -> Sequence[StageLike]:
        """Rows whose own energies add up to the total."""
        rows: Sequence[StageLike] = self.whole.stage_rows
        return rows

    @property
    def channel_rows(self) -> Sequence[ChannelLike]:
        """All channels."""
        channels: Sequence[ChannelLike] = self.whole.channel_rows
        return channels

    def power_series(self, path: str | None = None, phase: str | None = None) -> Sequence[Bin]:
        """Bins of the run's energy, or of what is a row's own."""
        bins = (
            (start_s, end_s, _energy_j(part, path, phase)) for start_s, end_s, part in self._parts
        )
        return [(start_s, end_s, joules) for start_s, end_s, joules in bins if joules is not None]

    @cached_property
    def _parts(self) -> list[tuple[float, float, ReportLike]]:
        """The report of every window."""
        run: RunLike = self.whole.run
        if run.start_utc is None:
            raise UsageError("the recording does not say when it was, so hours can't be priced")
        unix_s = parse_utc(run.start_utc, "the recording")
        return [
            (
                unix_s + (start_ns - run.start_mono_ns) * 1e-9,
                unix_s + (end_ns - run.start_mono_ns) * 1e-9,
                self.recording.report(start_ns=start_ns, end_ns=end_ns),
            )
            for start_ns, end_ns in _windows(unix_s, run.start_mono_ns, run.end_mono_ns)
        ]


def windowed(recording: RecordingLike) -> WindowedReport:
    """A recording's report that knows when its energy was used."""
    return WindowedReport(recording, recording.report())


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
    """As fine as intensities are, and coarser for long runs."""
    if duration_s <= _DAY_S:
        return 300.0
    return 900.0 if duration_s <= 7 * _DAY_S else 3600.0


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
