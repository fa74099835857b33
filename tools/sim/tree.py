"""Lays out the files of a /sys that stand still, and starts what moves the others."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sim.build import TREE, native
from sim.zone import Zone

POWERCAP = "devices/virtual/powercap"


@dataclass(frozen=True, slots=True)
class Placed:
    """A zone, its key in the tree (``intel-rapl:0:1``), its folder and its channel's id."""

    zone: Zone
    key: str
    folder: str
    channel: str


def _prefix(zone: Zone) -> str:
    return "" if zone.control == "intel-rapl" else f"{zone.control}/"


def place(zones: Sequence[Zone]) -> Iterator[Placed]:
    counts: dict[str, int] = {}
    for zone in zones:
        number = counts.get(zone.control, 0)
        counts[zone.control] = number + 1
        key = f"{zone.control}:{number}"
        folder = f"{POWERCAP}/{zone.control}/{key}"
        yield Placed(zone, key, folder, _prefix(zone) + zone.name)
        for index, child in enumerate(zone.children):
            name = f"{_prefix(zone)}{zone.name}/{child.name}"
            yield Placed(child, f"{key}:{index}", f"{folder}/{key}:{index}", name)


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n", encoding="ascii")


def _write_zone(root: Path, placed: Placed) -> None:
    zone, folder = placed.zone, root / placed.folder
    files = {"name": zone.name, "enabled": "1"}
    if zone.show_range:
        files["max_energy_range_uj"] = str(zone.max_energy_range_uj)
    if zone.name.startswith(("package", "psys", "dram")):
        limit_uw = str(round(zone.max_power_w * 1e6))
        files |= {"constraint_0_name": "long_term", "constraint_0_time_window_us": "999424"}
        files |= {"constraint_0_max_power_uw": limit_uw, "constraint_0_power_limit_uw": limit_uw}
    _write(folder, files)
    if zone.unreadable:
        (folder / "energy_uj").mkdir()
    depth = len(Path(placed.folder).parts)
    (folder / "subsystem").symlink_to(Path("/".join([".."] * depth)) / "class/powercap")
    link = root / "class/powercap" / placed.key
    link.symlink_to(Path("../..") / placed.folder)


def _write_cpus(root: Path, sockets: int, cores_per_socket: int) -> None:
    count = sockets * cores_per_socket
    listed = f"0-{count - 1}" if count > 1 else "0"
    cpus = root / "devices/system/cpu"
    _write(cpus, {name: listed for name in ("online", "present", "possible")})
    for cpu in range(count):
        socket, core = divmod(cpu, cores_per_socket)
        topology = {"physical_package_id": socket, "die_id": 0, "core_id": core}
        lists = {"core_cpus_list": cpu, "thread_siblings_list": cpu}
        files = {name: str(value) for name, value in (topology | lists).items()}
        _write(cpus / f"cpu{cpu}/topology", files)


def lay_out(root: Path, zones: Sequence[Zone], *, sockets: int, cores_per_socket: int) -> None:
    """Everything but the counters."""
    for folder in ("class/powercap", "class/hwmon", "class/thermal", "class/power_supply"):
        (root / folder).mkdir(parents=True)
    for control in dict.fromkeys(zone.control for zone in zones):
        _write(root / POWERCAP / control, {"enabled": "1"})
        (root / POWERCAP / control / "subsystem").symlink_to(Path("../../../../class/powercap"))
        (root / "class/powercap" / control).symlink_to(Path("../..") / POWERCAP / control)
    for placed in place(zones):
        _write_zone(root, placed)
    _write_cpus(root, sockets, cores_per_socket)


def spec(zones: Sequence[Zone], epoch_ns: int) -> str:
    lines = [f"epoch_ns {epoch_ns}"]
    for placed in place(zones):
        if not placed.zone.unreadable:
            lines += placed.zone.spec(f"{placed.folder}/energy_uj")
    return "\n".join(lines) + "\n"


@contextmanager
def moving(root: Path, spec_path: Path) -> Iterator[int]:
    """Keeps the counters moving; gives the process id of what moves them."""
    command = [str(native(TREE)), str(root), str(spec_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("sim-tree ended before its first update")
            yield process.pid
        finally:
            process.terminate()
