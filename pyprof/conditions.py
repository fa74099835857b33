"""What explains a GPU's power: how busy and how warm it was, its clock, and what held it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyprof.check import is_beside
from pyprof.energy import Condition

if TYPE_CHECKING:
    from pyprof import _native
    from pyprof.hardware import Machine

#: Domain of channels that hold conditions. They hold a quantity times seconds, not joules.
CONDITION = "condition"

_NVML = "nvml"


def watch(machine: Machine) -> Machine:
    """The machine with gauges of the conditions of its GPUs, read once a second."""
    gpus = [
        (row.id, row.uuid)
        for row in machine.channels
        if row.domain == "gpu" and row.uuid and row.source == _NVML and not is_beside(row)
    ]
    if machine.native is None:
        return machine
    if not gpus:
        note = "no conditions are recorded: no GPU of this run is read by the source nvml"
        return replace(machine, notes=(*machine.notes, note))
    notes = machine.native.add_conditions(gpus)
    return replace(machine, channels=tuple(machine.native.channels), notes=(*machine.notes, *notes))


def means(
    channels: Sequence[_native.Channel], sums: Mapping[str, float], length_s: float
) -> Iterator[Condition]:
    """Mean conditions over ``length_s`` seconds, of what was solved of each channel, by its id."""
    if length_s <= 0:
        return
    gpus = dict.fromkeys(row.parent for row in channels if row.domain == CONDITION)

    def mean(gpu: str, name: str) -> float | None:
        total = sums.get(f"{gpu}/{name}")
        return None if total is None else total / length_s

    def share(gpu: str, name: str) -> float | None:
        found = mean(gpu, name)
        return None if found is None else min(found, 1.0)  # but for rounding it is

    for gpu in gpus:
        found = Condition(
            channel=gpu,
            busy=share(gpu, "busy"),
            sm_clock_mhz=mean(gpu, "sm-clock"),
            temperature_c=mean(gpu, "temperature"),
            power_capped=share(gpu, "power-capped"),
            too_hot=share(gpu, "too-hot"),
        )
        if any(value is not None for value in found.values):
            yield found
