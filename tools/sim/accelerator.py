"""GPUs of AMD and Intel behind simulated libraries of their vendors."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sim.build import AMD_SMI, LEVEL_ZERO, Part, native
from sim.fault import Fault
from sim.gpu import STEADY, signal_spec
from sim.sensor import Sensor
from sim.waveform import Signal, to_ns

AMD_COUNTER = Sensor(period_s=0.001, quantum_j=15.259e-6, start_count=10**9)
INTEL_COUNTER = Sensor(period_s=0.1, phase_s=0.013, jitter=0.03, quantum_j=61e-6, start_count=10**7)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What it is, the power it draws, and what goes wrong with its counter."""

    signal: Signal = STEADY
    name: str = "AMD Instinct MI300X"
    uuid: str = "51ff74a1-0000-1000-80e6-5b5a4ed57a9c"
    place: tuple[int, int, int, int] = (0, 0x0C, 0, 0)
    """PCI domain, bus, device, function."""
    processors: int = 1
    """AMD: how many it is split into; all show the same counter."""
    counter: Sensor = AMD_COUNTER
    limit_w: float | None = None
    glitch_every: int = 0
    """Intel: each so manyth answer is near nothing."""
    resets_s: tuple[float, ...] = ()
    faults: tuple[Fault, ...] = ()
    """Of the energy call; the codes are the vendor's."""

    @property
    def address(self) -> str:
        domain, bus, device, function = self.place
        return f"{domain:04x}:{bus:02x}:{device:02x}.{function:x}"

    def spec(self) -> Iterator[str]:
        """The lines of this device in the native library's spec."""
        yield "device"
        yield f"name {self.name}"
        yield f"uuid {self.uuid}"
        yield "place {} {} {} {}".format(*self.place)
        yield f"processors {self.processors}"
        yield f"limit_mw {-1 if self.limit_w is None else round(self.limit_w * 1e3)}"
        yield f"glitch_every {self.glitch_every}"
        yield f"counter {self.counter.spec()}"
        yield from (f"reset {to_ns(at_s)}" for at_s in sorted(self.resets_s))
        yield from (f"fault {fault.span.spec()} {int(fault.code)}" for fault in self.faults)
        yield from signal_spec(self.signal)


@dataclass(frozen=True, slots=True)
class Library:
    """A library that runs. Times are those of CLOCK_MONOTONIC."""

    path: str
    epoch_ns: int
    devices: Sequence[Accelerator]

    def truth_j(self, index: int, from_mono_ns: int, to_mono_ns: int) -> float:
        """The energy that a device really used."""
        signal = self.devices[index].signal
        return signal.between_j(from_mono_ns - self.epoch_ns, to_mono_ns - self.epoch_ns)


@contextmanager
def _library(folder: Path, part: Part, devices: Sequence[Accelerator]) -> Iterator[Library]:
    folder = folder.resolve() / "library"
    folder.mkdir(parents=True)
    epoch_ns = time.monotonic_ns()
    lines = [f"epoch_ns {epoch_ns}", *(line for each in devices for line in each.spec())]
    (folder / "machine.spec").write_text("\n".join(lines) + "\n")
    # A copy, not a link: the library finds its devices beside itself.
    path = shutil.copy(native(part), folder / part.name)
    yield Library(str(path), epoch_ns, tuple(devices))


def amd_smi(folder: Path, *devices: Accelerator) -> AbstractContextManager[Library]:
    """A libamd_smi.so with these devices."""
    return _library(folder, AMD_SMI, devices)


def level_zero(folder: Path, *devices: Accelerator) -> AbstractContextManager[Library]:
    """A libze_loader.so.1 with these devices."""
    return _library(folder, LEVEL_ZERO, devices)
