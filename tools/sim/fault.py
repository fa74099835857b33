"""What goes wrong with a simulated sensor, and when: seconds after the machine's start."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from sim.waveform import to_ns


class NvmlError(IntEnum):
    """The return codes of the vendor's library that faults use most."""

    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NOT_SUPPORTED = 3
    NO_PERMISSION = 4
    NOT_FOUND = 6
    TIMEOUT = 10
    FUNCTION_NOT_FOUND = 13
    GPU_IS_LOST = 15
    RESET_REQUIRED = 16
    UNKNOWN = 999


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start_s`` until just before ``end_s``."""

    start_s: float
    end_s: float

    def spec(self) -> str:
        return f"{to_ns(self.start_s)} {to_ns(self.end_s)}"


@dataclass(frozen=True, slots=True)
class Fault:
    """While it lasts, ``target`` answers ``code``.

    A target is a function of the library by name, ``field:ID`` for one entry of a field query, or
    ``*`` for every call about the device.
    """

    span: Span
    code: int
    target: str = "*"

    def spec(self) -> str:
        return f"{self.span.spec()} {int(self.code)} {self.target}"


ALWAYS = Span(-1e9, 9e9)


def unsupported(*targets: str) -> tuple[Fault, ...]:
    """Functions or fields that the device never supports."""
    return tuple(Fault(ALWAYS, NvmlError.NOT_SUPPORTED, target) for target in targets)


ENERGY_CALLS = ("nvmlDeviceGetTotalEnergyConsumption", "field:83", "field:191")
POWER_CALLS = ("nvmlDeviceGetPowerUsage", "nvmlDeviceGetSamples", "field:185", "field:186")
NO_ENERGY_COUNTER = unsupported(*ENERGY_CALLS)
NO_POWER = unsupported(*ENERGY_CALLS, *POWER_CALLS)
