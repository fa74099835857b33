"""How a sensor shows a signal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from sim.waveform import Signal, to_ns

_MASK = 2**64 - 1


def _hash(number: int) -> int:
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


@dataclass(frozen=True, slots=True)
class Sensor:
    """Update period, averaging window, quantum and wrap range, as the native sensor has them."""

    period_s: float = 0.001
    phase_s: float = 0.0
    jitter: float = 0.0
    """Spread of each update's moment, as a fraction of the period."""
    quantum_j: float = 1e-6
    """Joules per count."""
    range_counts: int = 0
    """Counts after which the counter starts again at 0; 0 for 64 bits."""
    start_count: int = 0
    window_s: float = 0.0
    lag_s: float = 0.0

    def __post_init__(self) -> None:
        if self.period_s <= 0 or self.quantum_j <= 0:
            raise ValueError("a sensor's period and quantum must be more than 0")
        if not 0 <= self.jitter < 1:
            raise ValueError("a sensor's jitter must be at least 0 and below 1")
        if self.window_s < 0 or self.lag_s < 0:
            raise ValueError("a sensor's window and lag must not be negative")
        if self.range_counts and not 0 <= self.start_count < self.range_counts:
            raise ValueError("a sensor's start must lie inside its range")

    def spec(self) -> str:
        """The eight words of the native parts' spec."""
        times = to_ns(self.period_s), to_ns(self.phase_s)
        counts = self.range_counts, self.start_count
        tail = to_ns(self.window_s), to_ns(self.lag_s)
        words = (*times, repr(self.jitter), repr(self.quantum_j), *counts, *tail)
        return " ".join(str(word) for word in words)

    def update_ns(self, number: int) -> int:
        period_ns = to_ns(self.period_s)
        on_time_ns = to_ns(self.phase_s) + number * period_ns
        if self.jitter == 0:
            return on_time_ns
        early_or_late = self.jitter * ((_hash(number & _MASK) >> 11) * 2.0**-53 - 0.5) * period_ns
        # Halves away from zero, as the native side rounds.
        return on_time_ns + int(math.copysign(math.floor(abs(early_or_late) + 0.5), early_or_late))

    def last_update_ns(self, t_ns: int) -> int:
        """The latest update at or before ``t_ns``."""
        number = (t_ns - to_ns(self.phase_s)) // to_ns(self.period_s) + 1
        while self.update_ns(number) > t_ns:
            number -= 1
        return self.update_ns(number)

    def counter_at(self, signal: Signal, t_ns: int) -> int:
        energy_j = signal.exact_energy_j(self.last_update_ns(t_ns) - to_ns(self.lag_s))
        counts = math.floor(energy_j / Fraction(self.quantum_j)) + self.start_count
        return counts % (self.range_counts or 2**64)

    def power_at(self, signal: Signal, t_ns: int) -> float:
        shown_ns = self.last_update_ns(t_ns) - to_ns(self.lag_s)
        return signal.mean_w(shown_ns - to_ns(self.window_s), shown_ns)
