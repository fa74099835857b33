"""Trees of files as the kernel lays them out below /sys, for sources that read files."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PMU = "bus/event_source/devices"
# Else the loader finds a simulated driver that an earlier test of this process has loaded.
NO_NVML = "/nonexistent/libnvidia-ml.so.1"


def write_tree(root: Path, files: Mapping[str, object]) -> Path:
    """Writes each value as the one line of its file; returns ``root``."""
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def topology(places: Mapping[int, tuple[int, int]]) -> dict[str, object]:
    """Package and die of each CPU."""
    files: dict[str, object] = {}
    for cpu, (package, die) in places.items():
        folder = f"devices/system/cpu/cpu{cpu}/topology"
        files |= {f"{folder}/physical_package_id": package, f"{folder}/die_id": die}
    return files


def pmu(
    events: Mapping[str, tuple[int, float]], *, name: str = "power", cpumask: str = "0"
) -> dict[str, object]:
    """A PMU whose events are software events of the kernel: (config, joules per count)."""
    folder = f"{PMU}/{name}"
    files: dict[str, object] = {
        f"{folder}/type": 1,  # PERF_TYPE_SOFTWARE
        f"{folder}/cpumask": cpumask,
        f"{folder}/format/event": "config:0-7",
    }
    for event, (config, unit_j) in events.items():
        files |= {
            f"{folder}/events/{event}": f"event={config:#04x}",
            f"{folder}/events/{event}.unit": "Joules",
            f"{folder}/events/{event}.scale": repr(unit_j),
        }
    return files


def powercap(zones: Mapping[str, tuple[str, int]]) -> dict[str, object]:
    """Zones by key: (name, energy in µJ)."""
    files: dict[str, object] = {}
    for key, (name, energy_uj) in zones.items():
        folder = f"class/powercap/{key}"
        files |= {
            f"{folder}/name": name,
            f"{folder}/energy_uj": energy_uj,
            f"{folder}/max_energy_range_uj": 262143328850,
        }
    return files


@contextmanager
def moving(path: Path, text: Callable[[float], str], period_s: float = 0.02) -> Iterator[float]:
    """Keeps a file at ``text(seconds since the beginning)``; yields the beginning (monotonic)."""
    stop, begin = threading.Event(), time.monotonic()
    fresh = path.with_name(f".{path.name}")

    def write() -> None:
        fresh.write_text(text(time.monotonic() - begin) + "\n")
        os.replace(fresh, path)

    def keep() -> None:
        while not stop.wait(period_s):
            write()

    path.parent.mkdir(parents=True, exist_ok=True)
    write()
    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield begin
    finally:
        stop.set()
        thread.join()
