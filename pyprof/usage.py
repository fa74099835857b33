"""Whose energy it was: devices shared with others, split by who used them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyprof.baseline import AtRest, Baseline
from pyprof.energy import Channel, EnergyReport, Share, Stage
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from pyprof import _native
    from pyprof.hardware import Look, Machine

#: Domain of channels that say who used a device. They hold CPU seconds, not joules.
USE = "use"
PROCESS_TREE, CGROUP = "process tree", "cgroup"

_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?\Z")
_NVML = "nvml"


@dataclass(frozen=True, slots=True)
class Party:
    """Whose share: what this process and its descendants use, only the latter, or a cgroup."""

    root: int
    with_root: bool = True
    cgroup: str | None = None


def find_cgroup(name: str, sysfs: str) -> str:
    """The folder of a cgroup, which is named by its path below ``/sys/fs/cgroup``."""
    root = os.path.join(sysfs, "fs/cgroup")
    folder = name if os.path.isdir(name) else os.path.join(root, name.strip("/"))
    if not any(os.path.exists(os.path.join(folder, f)) for f in ("cpu.stat", "cpuacct.usage")):
        raise UsageError(
            f"{name} is no cgroup with CPU accounting below {root}: /proc/PID/cgroup names that of "
            "a process"
        )
    return folder


def watch(machine: Machine, look: Look, party: Party) -> Machine:
    """The machine with gauges of who uses its packages and GPUs, read once a second."""
    if machine.native is None or look.simulate is not None:
        return machine
    packages = list(_packages(machine.channels, look.sysfs))
    gpus = [
        (row.id, row.uuid)
        for row in machine.channels
        if row.domain == "gpu" and row.uuid and row.source == _NVML
    ]
    if not packages and not gpus:
        return machine
    cgroup = "" if party.cgroup is None else find_cgroup(party.cgroup, look.sysfs)
    notes = machine.native.add_usage(
        root=party.root,
        with_root=party.with_root,
        cgroup=cgroup,
        packages=packages,
        gpus=gpus,
    )
    if cgroup:
        for row in machine.native.channels:
            if row.domain == USE and row.id.endswith("/party"):
                machine.native.adopt(row.replace(scope=CGROUP))
    return replace(
        machine,
        channels=tuple(machine.native.channels),
        notes=(*machine.notes, *notes),
    )


def _packages(channels: Iterable[_native.Channel], sysfs: str) -> Iterator[tuple[str, list[int]]]:
    """Channels of packages with the CPUs in each, as the tree of CPUs places them."""
    places = _cpu_places(sysfs)
    for row in channels:
        found = _PACKAGE.match(row.id)
        if row.domain != "package" or not row.counted or found is None:
            continue
        package, die = int(found[1]), found[2]
        cpus = [
            cpu
            for cpu, (its_package, its_die) in sorted(places.items())
            if its_package == package and (die is None or its_die == int(die))
        ]
        if cpus:
            yield row.id, cpus


def _cpu_places(sysfs: str) -> dict[int, tuple[int, int]]:
    """Package and die of each CPU."""
    folder = os.path.join(sysfs, "devices/system/cpu")
    places: dict[int, tuple[int, int]] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return places
    for name in names:
        if re.fullmatch(r"cpu\d+", name):
            package = _number(os.path.join(folder, name, "topology/physical_package_id"))
            die = _number(os.path.join(folder, name, "topology/die_id"))
            if package is not None:
                places[int(name[3:])] = (max(package, 0), die or 0)
    return places


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


# -- from use to energy ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Used:
    """Of one device in one stretch of time: how busy it was, in its own units of time."""

    party_s: float
    all_s: float
    whole_s: float

    def of(self, energy_j: float, idle_j: float | None) -> tuple[float, float, float]:
        """Joules of the party, of others, and of nobody."""
        if idle_j is None:
            # An idle thread counts like a busy one.
            busy_j = energy_j * min(1.0, self.all_s / self.whole_s) if self.whole_s > 0 else 0.0
        else:
            busy_j = max(0.0, energy_j - idle_j)
            if self.all_s <= 0:
                busy_j = 0.0
        party_j = busy_j * min(1.0, self.party_s / self.all_s) if self.all_s > 0 else 0.0
        return party_j, busy_j - party_j, energy_j - busy_j


@dataclass(frozen=True, slots=True)
class _Device:
    """A channel with the two that say who used it."""

    row: Channel
    party: _native.Channel
    everybody: _native.Channel
    rest: AtRest | None

    @property
    def rule(self) -> str:
        """How its energy is shared, in words."""
        what = "SM utilisation" if self.row.domain == "gpu" else "CPU time"
        if self.rest is not None:
            return f"energy above the power at rest shared by {what}; the rest is idle"
        return f"shared by {what}, idle time like busy time, as no baseline tells the power at rest"


def share(
    report: EnergyReport,
    channels: Sequence[_native.Channel],
    known_s: Mapping[str, float],
    stage_s: Sequence[Mapping[str, float]],
    baseline: Baseline | None,
) -> EnergyReport:
    """``report`` with the parts that the party, others and nobody have in each device.

    ``known_s`` and ``stage_s`` hold the use in the run and in each stage row, by channel id.
    """
    devices = [
        device
        for device in _devices(report, channels, baseline)
        if device.party.id in known_s and device.everybody.id in known_s
    ]
    length_s = report.run.duration_s
    stages = tuple(
        replace(row, shares=_stage_shares(row, used_s, devices))
        for row, used_s in zip(report.stage_rows, stage_s, strict=True)
    )
    shares = tuple(_share(device, known_s, length_s) for device in devices)
    return replace(report, stage_rows=stages, shares=shares)


def _devices(
    report: EnergyReport, channels: Sequence[_native.Channel], baseline: Baseline | None
) -> Iterator[_Device]:
    uses = {row.id: row for row in channels if row.domain == USE}
    for row in report.channel_rows:
        party, everybody = uses.get(f"{row.id}/party"), uses.get(f"{row.id}/all")
        if party is None or everybody is None or row.energy_j is None:
            continue
        yield _Device(row, party, everybody, None if baseline is None else baseline.rest_of(row))


def _use_of(device: _Device, used_s: Mapping[str, float], length_s: float) -> _Used:
    return _Used(
        used_s.get(device.party.id, 0.0),
        used_s.get(device.everybody.id, 0.0),
        device.party.limit_w * length_s,
    )


def _share(device: _Device, used_s: Mapping[str, float], length_s: float) -> Share:
    row = device.row
    used = _use_of(device, used_s, length_s)
    middle, low, high = _split(device, used, length_s)
    return Share(
        channel=row.id,
        scope=CGROUP if device.party.scope == CGROUP else PROCESS_TREE,
        energy_j=middle[0],
        low_j=min(low, middle[0]),
        high_j=max(high, middle[0]),
        others_j=middle[1],
        idle_j=middle[2],
        quality="modelled",
        rule=device.rule,
    )


_Parts = tuple[float, float, float]


def _split(device: _Device, used: _Used, length_s: float) -> tuple[_Parts, float, float]:
    """The three parts, and the ends of the first."""
    row, rest = device.row, device.rest
    energy_j = row.energy_j or 0.0
    low_j = energy_j if row.low_j is None else row.low_j
    high_j = energy_j if row.high_j is None else row.high_j
    if rest is None:
        # Idle may use nothing, or all of it.
        return used.of(energy_j, None), 0.0, used.of(high_j, 0.0)[0]
    middle = used.of(energy_j, _idle_j(rest.power_w, energy_j, length_s))
    low = used.of(low_j, _idle_j(rest.high_w, low_j, length_s))[0]
    return middle, low, used.of(high_j, _idle_j(rest.low_w, high_j, length_s))[0]


def _idle_j(power_w: float, energy_j: float, length_s: float) -> float:
    return min(energy_j, max(0.0, power_w) * length_s)


def _stage_shares(
    row: Stage, used_s: Mapping[str, float], devices: Sequence[_Device]
) -> dict[str, float]:
    """The party's joules of each device in a stage, where they are known."""
    found: dict[str, float] = {}
    for device in devices:
        energy_j, rest = row.channels.get(device.row.id), device.rest
        if energy_j is None or device.party.id not in used_s:
            continue
        idle_j = None if rest is None else _idle_j(rest.power_w, energy_j, row.wall_s)
        found[device.row.id] = _use_of(device, used_s, row.wall_s).of(energy_j, idle_j)[0]
    return found
