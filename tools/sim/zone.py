"""A simulated RAPL zone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sim.fault import Span
from sim.gpu import signal_spec
from sim.sensor import Sensor
from sim.waveform import Signal, to_ns

INTEL_UNIT_J = 61.035e-6
DRAM_UNIT_J = 15.258e-6
FULL_RANGE = 2**32

RAPL = Sensor(period_s=0.000976, quantum_j=INTEL_UNIT_J, range_counts=FULL_RANGE)


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone of a powercap control type, with the zones inside it."""

    name: str
    """``package-0``, ``package-0-die-1``, ``dram``, ``core``, ``uncore``, ``psys``."""
    signal: Signal
    sensor: Sensor = RAPL
    children: tuple[Zone, ...] = ()
    control: str = "intel-rapl"
    """The control type: ``intel-rapl``, or ``intel-rapl-mmio`` for the same package's twin."""
    max_power_w: float = 350.0
    show_range: bool = True
    """Whether ``max_energy_range_uj`` exists."""
    unreadable: bool = False
    """A folder in place of energy_uj, so that reading fails for root too (EISDIR)."""
    resets_s: tuple[float, ...] = ()
    gone: tuple[Span, ...] = ()
    """The file does not exist; who has it open reads nothing."""
    empty: tuple[Span, ...] = ()
    """The file is there, but a read gives nothing."""
    frozen: tuple[Span, ...] = ()

    @property
    def unit_pj(self) -> int:
        return round(self.sensor.quantum_j * 1e12)

    @property
    def max_energy_range_uj(self) -> int:
        """The highest value, as the kernel gives it: one count less than the range."""
        return (self.sensor.range_counts - 1) * self.unit_pj // 10**6

    def spec(self, path: str) -> Iterator[str]:
        """The lines of this zone in the native program's spec."""
        yield f"zone {path}"
        yield f"unit_pj {self.unit_pj}"
        yield f"sensor {self.sensor.spec()}"
        yield from signal_spec(self.signal)
        yield from (f"reset {to_ns(at_s)}" for at_s in sorted(self.resets_s))
        for kind in ("gone", "empty", "frozen"):
            yield from (f"{kind} {span.spec()}" for span in getattr(self, kind))
