"""HPE Cray's pm_counters: a blade's controller that renews its files ten times a second."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from sysfs_tree import NO_NVML, powercap, write_tree

from pyprof import _native
from pyprof.energy import EnergyReport
from pyprof.hardware import Look, open_machine
from pyprof.profiler import Profiler

POWERS_W = {"": 900.0, "cpu_": 200.0, "memory_": 50.0, "accel0_": 260.0, "accel1_": 270.0}
START_J = 4_000_000


class Controller:
    """Writes in place, as the kernel would: a reader never meets an empty file."""

    def __init__(self, root: Path, powers_w: Mapping[str, float]) -> None:
        self.folder = root / "cray/pm_counters"
        write_tree(self.folder, {"raw_scan_hz": 10, "version": 2})
        self._powers_w = powers_w
        self._begin = time.monotonic()
        self._renewals = 1000
        self.renew()

    def renew(self) -> None:
        now, stamp_us = time.monotonic() - self._begin, time.time_ns() // 1000
        for name, power_w in self._powers_w.items():
            self._write(f"{name}energy", f"{START_J + int(power_w * now)} J {stamp_us} us")
            self._write(f"{name}power", f"{power_w:.0f} W {stamp_us} us")
        self._renewals += 1
        self._write("freshness", str(self._renewals))

    def _write(self, name: str, text: str) -> None:
        file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(file, f"{text}\n".encode(), 0)
        os.close(file)

    @contextmanager
    def running(self) -> Iterator[threading.Event]:
        stop = threading.Event()

        def keep() -> None:
            deadline = time.monotonic()
            while True:
                deadline += 0.1
                if stop.wait(max(0.0, deadline - time.monotonic())):
                    return
                self.renew()

        thread = threading.Thread(target=keep)
        thread.start()
        try:
            yield stop
        finally:
            stop.set()
            thread.join()


def measured(tree: Path, seconds: float) -> EnergyReport:
    with Profiler(sysfs=str(tree), sources=["cray"], model=False) as prof:
        time.sleep(seconds)
    return prof.report()


def found_in(tree: Path) -> _native.Found:
    return _native.Hardware(sysfs=str(tree), sources=["cray"]).found[0]


def counted(tree: Path) -> dict[str, bool]:
    machine = open_machine(Look(sysfs=str(tree), nvml=NO_NVML, model=False))
    return {row.id: row.counted for row in machine.channels}


def test_node_and_parts_in_joules(tmp_path: Path) -> None:
    with Controller(tmp_path, POWERS_W).running():
        report = measured(tmp_path, 2.27)
    ids = {"node": "", "node/cpu": "cpu_", "node/memory": "memory_", "node/accel1": "accel1_"}
    for channel, name in ids.items():
        row = report.channels[channel]
        assert row.mean_w == pytest.approx(POWERS_W[name], rel=0.08)
        assert (row.quality, row.method) == ("measured", "counter")
    period_s = report.channels["node"].update_period_s
    assert period_s == pytest.approx(0.1, rel=0.1)


def test_the_node_is_not_counted_beside_its_parts(tmp_path: Path) -> None:
    Controller(tmp_path, POWERS_W)
    assert counted(tmp_path) == {
        "node": False,
        "node/cpu": True,
        "node/memory": True,
        "node/accel0": True,
        "node/accel1": True,
    }


def test_a_node_without_parts_counts_as_a_whole(tmp_path: Path) -> None:
    Controller(tmp_path, {"": 900.0})
    assert counted(tmp_path) == {"node": True}


def test_what_is_read_at_the_device_is_not_counted_twice(tmp_path: Path) -> None:
    Controller(tmp_path, POWERS_W)
    write_tree(tmp_path, powercap({"intel-rapl:0": ("package-0", 5)}))
    found = counted(tmp_path)
    assert (found["package-0"], found["node/cpu"]) == (True, False)
    assert (found["node/memory"], found["node/accel0"]) == (True, True)


def test_a_controller_that_stops_is_no_power_of_zero(tmp_path: Path) -> None:
    with Controller(tmp_path, POWERS_W).running() as stop:
        with Profiler(sysfs=str(tmp_path), sources=["cray"], model=False) as prof:
            time.sleep(1.0)
            stop.set()
            time.sleep(2.5)
        report = prof.report()
    row = report.channels["node"]
    assert "failed" in {event.kind for event in report.events if event.channel == "node"}
    assert row.coverage is not None
    assert row.coverage < 0.8


def test_a_part_at_zero_is_not_metered(tmp_path: Path) -> None:
    controller = Controller(tmp_path, {"": 900.0, "cpu_": 200.0})
    (controller.folder / "memory_energy").write_text("0 J 1400006195309843 us\n")
    found = found_in(tmp_path)
    assert [row.id for row in found.channels] == ["node", "node/cpu"]
    (memory,) = found.unreadable
    assert (memory.id, memory.quality) == ("node/memory", "unmeasured")
    assert "reads 0" in memory.reason


def test_power_where_there_is_no_energy(tmp_path: Path) -> None:
    controller = Controller(tmp_path, {"": 900.0})
    (controller.folder / "energy").unlink()
    (row,) = found_in(tmp_path).channels
    assert (row.kind, row.quality, row.method, row.unit) == ("gauge", "derived", "power-instant", 1)


def test_elsewhere_there_is_nothing_to_advise(tmp_path: Path) -> None:
    found = found_in(tmp_path)
    assert (found.available, found.remedy) == (False, "")
    assert "no node of an HPE Cray" in found.reason
