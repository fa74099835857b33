"""A recording as read: frames, marks, inventory and events of one run, from a file or a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pyprof import _native, integrate
from pyprof.baseline import Place, parse
from pyprof.energy import EnergyReport, Source
from pyprof.errors import UsageError
from pyprof.layout import SAMPLER, Block, Incident, Process
from pyprof.shelf import Shelf

if TYPE_CHECKING:
    from pyprof.baseline import Baseline
    from pyprof.carbon import Scenario
    from pyprof.carbon.windows import Windows


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded of a run. Times are CLOCK_MONOTONIC ns of the host that samples."""

    path: str | None
    meta: Mapping[str, str]
    processes: tuple[Process, ...]
    sources: tuple[Source, ...]
    channels: tuple[_native.Channel, ...]
    blocks: tuple[Block, ...]
    shelf: Shelf
    tail: tuple[bytes, ...]
    marks: tuple[tuple[int, bytes], ...]
    incidents: tuple[Incident, ...]
    stats: Mapping[str, float]
    findings: tuple[Incident, ...] = ()
    #: Of channels whose older readings were given up for roll-ups: how many.
    thinned: Mapping[int, int] = field(default_factory=dict)
    live: bool = False
    defects: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Identity of the run."""
        return self.meta.get("run_id", "")

    @property
    def scope(self) -> str:
        """What the figures cover, in words."""
        return self.meta.get("scope", "")

    @property
    def process(self) -> Process:
        """The process that sampled; in a file of stages alone, the one that marked them."""
        for process in self.processes:
            if process.role == SAMPLER:
                return process
        return self.processes[0]

    @property
    def phase(self) -> str:
        """Phase of what is in no stage."""
        return self.process.phase

    @property
    def complete(self) -> bool:
        """False for a recording that was cut short, or still runs."""
        return self.process.complete

    @property
    def start_ns(self) -> int:
        """The instant from which the run counts; the first reading if a kill came before it."""
        start_ns = self.process.start_ns
        return self._first_read_ns if start_ns is None else start_ns

    @property
    def _first_read_ns(self) -> int:
        """The first reading of any channel; where there is none, when the file was begun."""
        found = [block.first_ns for block in self.blocks]
        found += [info[3] for data in self.tail for info in _native.frame_info(data)]
        return min(found, default=self.process.mono_ns)

    @property
    def end_ns(self) -> int:
        """The recorded end; where there is none, the last reading."""
        if self.process.end_ns is not None:
            return max(self.process.end_ns, self.start_ns)
        return max(self.last_read_ns, self.start_ns)

    @property
    def last_read_ns(self) -> int:
        """The last successful reading of any channel; the start if there is none."""
        last = max((block.last_ns for block in self.blocks), default=self.start_ns)
        for data in self.tail:
            last = max([last, *(info[4] for info in _native.frame_info(data))])
        return last

    def frames(self) -> Iterator[bytes]:
        """Frames of all channels, sealed ones first; of a long recording very many."""
        yield from self.sealed()
        yield from self.tail

    def sealed(self) -> Iterator[bytes]:
        """Frames of the blocks that can be read."""
        return (frame for frame in self.shelf.frames(self.blocks) if frame is not None)

    def shift_ns(self, process: int) -> int:
        """What makes a process' times those of the sampling one (another time namespace)."""
        offsets = {p.id: p.offset_ns for p in self.processes}
        return self.process.offset_ns - offsets.get(process, self.process.offset_ns)

    def report(
        self,
        zone: str | None = None,
        pue: float | None = None,
        scenario: Scenario | None = None,
        *,
        baseline: Baseline | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        phase: str | None = None,
    ) -> EnergyReport:
        """Joules per stage and channel; with a zone or a scenario, kilograms as well.

        Without either, the scenario that the recording keeps. ``zone`` and ``pue`` override it one
        by one; a new zone is priced by today's tables. ``baseline`` takes the place of the one that
        the recording keeps, if any.
        """
        energy = self.energy(start_ns, end_ns, phase, baseline)
        return price(energy, scenario if scenario is not None else self._scenario(zone, pue))

    def energy(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        phase: str | None = None,
        baseline: Baseline | None = None,
    ) -> EnergyReport:
        """Joules alone, of the whole or of a part. :func:`price` adds the kilograms."""
        chosen = baseline or self._kept_baseline
        energy = integrate.report(
            self, start_ns=start_ns, end_ns=end_ns, phase=phase, baseline=chosen
        )
        return replace(energy, timed=_Hours(self, energy))

    @property
    def place(self) -> Place:
        """The machine, as far as its marks were kept."""
        process = self.process
        return Place(process.host, process.machine_id, self.meta.get("cpu"))

    @property
    def without_baseline(self) -> Recording:
        """The same as if no baseline had been kept with it."""
        meta = {key: value for key, value in self.meta.items() if key != "baseline"}
        return replace(self, meta=meta)

    @property
    def _kept_baseline(self) -> Baseline | None:
        text = self.meta.get("baseline")
        name = f"the baseline in {self.path or 'the recording'}"
        return None if text is None else parse(text, name)

    @property
    def kept(self) -> Scenario | None:
        """The place and the factor that the run was first priced with, if any."""
        if "scenario" not in self.meta:
            return None
        from pyprof import carbon

        return carbon.scenario_in(self.meta)

    @property
    def kept_if_sound(self) -> Scenario | None:
        """The same for whoever gives another place: what can't be read is then left alone."""
        try:
            return self.kept
        except UsageError:
            return None

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[tuple[float, float, float]]:
        """When the energy was used; see :meth:`pyprof.energy.EnergyReport.power_series`."""
        return self.energy().power_series(path, phase, edges_s)

    def _scenario(self, zone: str | None, pue: float | None) -> Scenario | None:
        """What is kept with what is given over it; None where it is not said where it ran."""
        given = {"zone": zone, "pue": pue}
        changes = {name: value for name, value in given.items() if value is not None}
        if "scenario" not in self.meta and not changes:
            return None
        from pyprof.carbon.scenario import Scenario, override

        kept = self.kept if zone is None else self.kept_if_sound

        return override(kept or Scenario(), changes)


@dataclass(frozen=True)
class _Hours:
    """When the energy of a report was used, asked of its recording."""

    recording: Recording
    whole: EnergyReport

    def power_series(
        self,
        path: str | None = None,
        phase: str | None = None,
        edges_s: Sequence[float] | None = None,
    ) -> Sequence[tuple[float, float, float]]:
        return self._windows.power_series(path, phase, edges_s)

    @cached_property
    def _windows(self) -> Windows:
        from pyprof.carbon.windows import Windows

        return Windows(self.whole.run, len(self.whole.stage_rows), self._own)

    def _own(self, times_ns: Sequence[int]) -> Sequence[tuple[str, str, Sequence[float | None]]]:
        """Of every row what is its own, from the account that the report was made of."""
        run, phase = self.whole.run, self.whole.stage_rows[0].phase
        recording = integrate.believed(self.recording, self.whole)
        made, _ = integrate.account(recording, run.start_mono_ns, run.end_mono_ns, phase, times_ns)
        return made.own(times_ns)


def price(report: EnergyReport, scenario: Scenario | None) -> EnergyReport:
    """The report with a footprint, if it is said where it ran."""
    if scenario is None or not scenario.has_place:
        return replace(report, footprint=None)
    from pyprof import carbon

    return replace(report, footprint=carbon.account(report, scenario))
