"""What a footprint document is about: the account, the run behind it, and what only users know."""

from __future__ import annotations

from dataclasses import dataclass

from pyprof.carbon.footprint import Footprint
from pyprof.energy import EnergyReport
from pyprof.errors import UsageError


@dataclass(frozen=True, slots=True)
class Subject:
    """A footprint with its report, if there is one; texts that are None are not stated."""

    footprint: Footprint
    report: EnergyReport | None = None
    name: str | None = None
    task: str | None = None
    hardware: str | None = None

    @property
    def title(self) -> str:
        """A name to print."""
        command = None if self.report is None else self.report.run.command
        return self.name or command or "workload"

    @property
    def all_kwh(self) -> float:
        """Energy with the overhead that the account includes."""
        scenario = self.footprint.scenario
        inside = scenario.pue if scenario.energy_includes_pue and scenario.pue else 1.0
        return self.it_kwh * scenario.pue_multiplier * inside

    @property
    def it_kwh(self) -> float:
        """Energy without overhead; unknown energy makes no document."""
        if self.footprint.energy_kwh is None:
            raise UsageError("the energy is unknown, so there is nothing to write")
        return self.footprint.energy_kwh

    @property
    def kg(self) -> float:
        """Operational carbon."""
        if self.footprint.kg_co2e is None:
            raise UsageError("the carbon is unknown, so there is nothing to write")
        return self.footprint.kg_co2e

    @property
    def units(self) -> tuple[str, float]:
        """The functional unit and its count; a rate needs both."""
        scenario = self.footprint.scenario
        if scenario.functional_unit is None or scenario.functional_units is None:
            raise UsageError(
                "a rate needs a functional unit and its count: --functional-unit request "
                "--functional-units 1000"
            )
        return scenario.functional_unit, scenario.functional_units

    @property
    def devices(self) -> str | None:
        """The hardware: as stated, else the counted GPUs and processors of the report."""
        if self.hardware is not None or self.report is None:
            return self.hardware
        shown = [c.device for c in self.report.channel_rows if c.counted]
        counts = {name: shown.count(name) for name in dict.fromkeys(shown)}
        return ", ".join(f"{count} x {name}" for name, count in counts.items()) or None
