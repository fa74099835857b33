"""The native signal and sensor, asked over C calls."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

from sim.build import PROBE, native
from sim.sensor import Sensor
from sim.waveform import Signal, to_ns

I64, U64, REAL = ctypes.c_int64, ctypes.c_uint64, ctypes.c_double


DEFAULT = Sensor()


@cache
def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(native(PROBE)))
    loaded.probe_new.restype = ctypes.c_void_p
    loaded.probe_delete.argtypes = [ctypes.c_void_p]
    results = {
        "power_w": (REAL, 1),
        "energy_j": (REAL, 1),
        "mean_w": (REAL, 2),
        "last_update_ns": (I64, 1),
        "next_update_ns": (I64, 1),
        "counter_at": (U64, 1),
        "power_at": (REAL, 1),
    }
    for name, (result, times) in results.items():
        function = getattr(loaded, f"probe_{name}")
        function.restype = result
        function.argtypes = [ctypes.c_void_p, *[I64] * times]
    return loaded


@dataclass(frozen=True)
class Probe:
    """One native sensor and its signal; refuses with ValueError what the native side refuses."""

    signal: Signal
    sensor: Sensor = DEFAULT

    def ask(self, name: str, *times_ns: int) -> float:
        model = self._new()
        try:
            answer: float = getattr(library(), f"probe_{name}")(model, *times_ns)
            return answer
        finally:
            library().probe_delete(model)

    def _new(self) -> int:
        parts, sensor = self.signal.segments, self.sensor
        count = len(parts)
        model: int | None = library().probe_new(
            (I64 * count)(*(each.duration_ns for each in parts)),
            (REAL * count)(*(each.start_w for each in parts)),
            (REAL * count)(*(each.end_w for each in parts)),
            I64(count),
            ctypes.c_int(self.signal.repeat),
            I64(to_ns(sensor.period_s)),
            I64(to_ns(sensor.phase_s)),
            REAL(sensor.jitter),
            REAL(sensor.quantum_j),
            U64(sensor.range_counts),
            U64(sensor.start_count),
            I64(to_ns(sensor.window_s)),
            I64(to_ns(sensor.lag_s)),
        )
        if model is None:
            raise ValueError("the native side refuses these parts")
        return model
