"""A simulated GPU."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from sim.fault import Fault, Span
from sim.sensor import Sensor
from sim.waveform import Signal, constant, to_ns

SCOPE_GPU, SCOPE_MODULE, SCOPE_MEMORY, SCOPE_GPU_BASE = range(4)

STEADY = constant(300.0)

COUNTER = Sensor(period_s=0.1, phase_s=0.013, jitter=0.03, quantum_j=1e-3, start_count=10**9)
INSTANT = Sensor(period_s=0.1, phase_s=0.013, jitter=0.03, window_s=0.025)
AVERAGE = Sensor(period_s=0.1, phase_s=0.013, jitter=0.03, window_s=1.0)
SAMPLES = Sensor(period_s=0.02, window_s=0.02)


@dataclass(frozen=True, slots=True)
class Gpu:
    """What it is, the power it draws, and the sensors through which it shows."""

    signal: Signal = STEADY
    name: str = "NVIDIA A100-SXM4-80GB"
    uuid: str = ""
    """Made from the device's place in the machine if not given."""
    bus: int | None = None
    """PCI bus number; rising with the place if not given."""
    architecture: int = 7
    capability: tuple[int, int] = (8, 0)
    idle_w: float = 60.0
    limit_w: float = 700.0
    memory_bytes: int = 80 * 2**30
    mig: int | None = None
    mps_clients: int = 0
    counter: Sensor = COUNTER
    instant: Sensor = INSTANT
    average: Sensor = AVERAGE
    samples: Sensor = SAMPLES
    usage: str = "average"
    """Which of the two nvmlDeviceGetPowerUsage shows: ``average`` or ``instant``."""
    module: Signal | None = None
    """Power of the whole module, where the GPU shares one with a CPU."""
    memory: Signal | None = None
    counter_scope: int = SCOPE_GPU
    latency_s: float = 0.0
    faults: tuple[Fault, ...] = ()
    resets_s: tuple[float, ...] = ()
    hangs: tuple[Span, ...] = ()

    def identity(self, index: int) -> str:
        return self.uuid or f"GPU-{uuid.uuid5(uuid.NAMESPACE_OID, f'simulated GPU {index}')}"

    def scopes(self) -> dict[int, Signal]:
        known = {SCOPE_GPU: self.signal, SCOPE_MODULE: self.module, SCOPE_MEMORY: self.memory}
        return {scope: signal for scope, signal in known.items() if signal is not None}

    def spec(self, index: int, processes: str) -> Iterator[str]:
        """The lines of this device in the native library's spec."""
        yield "device"
        yield f"uuid {self.identity(index)}"
        yield f"name {self.name}"
        yield f"pci 0 {16 + 8 * index if self.bus is None else self.bus} 0"
        yield f"architecture {self.architecture}"
        yield "capability {} {}".format(*self.capability)
        yield f"mig {-1 if self.mig is None else self.mig}"
        yield f"idle_w {self.idle_w!r}"
        yield f"limit_w {self.limit_w!r}"
        yield f"memory_bytes {self.memory_bytes}"
        yield f"usage {self.usage}"
        yield f"latency_ns {to_ns(self.latency_s)}"
        yield f"processes {processes}"
        yield f"counter_scope {self.counter_scope}"
        yield f"mps_clients {self.mps_clients}"
        yield from self._sensor_spec()
        yield from self._fault_spec()

    def _sensor_spec(self) -> Iterator[str]:
        for kind in ("counter", "instant", "average", "samples"):
            yield f"{kind} {getattr(self, kind).spec()}"
        for scope, signal in self.scopes().items():
            yield f"scope {scope}"
            yield from signal_spec(signal)

    def _fault_spec(self) -> Iterator[str]:
        yield from (f"fault {fault.spec()}" for fault in self.faults)
        yield from (f"reset {to_ns(at_s)}" for at_s in sorted(self.resets_s))
        yield from (f"hang {span.spec()}" for span in self.hangs)


def signal_spec(signal: Signal) -> Iterator[str]:
    yield f"signal {'repeat' if signal.repeat else 'once'}"
    for each in signal.segments:
        yield f"segment {each.duration_ns} {each.start_w!r} {each.end_w!r}"
