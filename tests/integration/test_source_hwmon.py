"""Sensors of the kernel's hwmon class, in trees as each driver lays them out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from sysfs_tree import NO_NVML, moving, powercap, write_tree

from pyprof import _native
from pyprof.energy import EnergyReport
from pyprof.hardware import Look, open_machine
from pyprof.profiler import Profiler

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from sim import machine as simulated
from sim import waveform
from sim.gpu import Gpu


def chip(
    root: Path, number: int, name: str, files: Mapping[str, object], *, address: str = ""
) -> Path:
    """One hwmon folder; with an address its device is a link to a place on the bus."""
    folder = root / f"class/hwmon/hwmon{number}"
    device = root / "devices" / (address or f"platform{number}")
    device.mkdir(parents=True, exist_ok=True)
    write_tree(folder, {"name": name, **files})
    (folder / "device").symlink_to(device)
    return device


def amd(root: Path, number: int, address: str, power_uw: int) -> Path:
    files = {"power1_average": power_uw, "power1_cap_max": 300_000_000}
    return chip(root, number, "amdgpu", files, address=address)


def find(tree: Path) -> _native.Found:
    return _native.Hardware(sysfs=str(tree), sources=["hwmon"]).found[0]


def measured(tree: Path, seconds: float = 0.6) -> EnergyReport:
    with Profiler(sysfs=str(tree), sources=["hwmon"], model=False) as prof:
        time.sleep(seconds)
    return prof.report()


def counted(tree: Path, *sources: str, nvml: str | None = None) -> dict[str, bool]:
    look = Look(sysfs=str(tree), sources=sources or ("hwmon",), nvml=nvml, model=False)
    return {row.id: row.counted for row in open_machine(look).channels}


def test_nothing_known_is_said_without_advice(tmp_path: Path) -> None:
    chip(tmp_path, 0, "coretemp", {"temp1_input": 40000})
    found = find(tmp_path)
    assert (found.available, found.remedy, found.channels) == (False, "", [])
    assert "no sensor of power or energy" in found.reason


# -- AMD GPUs --------------------------------------------------------------------------------------


def test_amd_gpus_in_the_order_of_the_bus(tmp_path: Path) -> None:
    amd(tmp_path, 3, "0000:c3:00.0", 111_000_000)
    first = amd(tmp_path, 7, "0000:03:00.0", 42_000_000)
    (first / "unique_id").write_text("8d3a1f00c0ffee01\n")
    report = measured(tmp_path)
    assert report.channels["amdgpu0"].mean_w == pytest.approx(42.0, rel=1e-3)
    assert report.channels["amdgpu1"].mean_w == pytest.approx(111.0, rel=1e-3)
    row = report.channels["amdgpu0"]
    assert (row.quality, row.method, row.domain) == ("derived", "power-average", "gpu")
    assert (row.uuid, row.device) == ("8d3a1f00c0ffee01", "AMD GPU at 0000:03:00.0")


def test_a_part_with_power_of_the_moment_only(tmp_path: Path) -> None:
    chip(tmp_path, 0, "amdgpu", {"power1_input": 35_000_000})
    (row,) = find(tmp_path).channels
    assert (row.method, row.unit) == ("power-instant", 1e-6)


def test_the_second_die_of_a_board_is_not_zero(tmp_path: Path) -> None:
    amd(tmp_path, 0, "0000:03:00.0", 300_000_000)
    amd(tmp_path, 1, "0000:04:00.0", 0)
    found = find(tmp_path)
    assert [row.id for row in found.channels] == ["amdgpu0"]
    assert [row.id for row in found.unreadable] == ["amdgpu1"]
    assert "first die" in found.unreadable[0].reason


def test_graphics_on_the_processor_lie_inside_its_package(tmp_path: Path) -> None:
    amd(tmp_path, 0, "0000:03:00.0", 200_000_000)
    amd(tmp_path, 1, "0000:0b:00.0", 35_000_000)
    write_tree(tmp_path, {"bus/pci/devices/0000:0b:00.2/class": "0x108000"})
    assert counted(tmp_path) == {"amdgpu0": True, "amdgpu1": False}


def test_a_gpu_that_is_read_is_not_listed_as_unmeasured(tmp_path: Path) -> None:
    for address in ("0000:03:00.0", "0000:43:00.0"):
        place = f"bus/pci/devices/{address}"
        files = {"vendor": "0x1002", "class": "0x030000", "device": "0x744c"}
        write_tree(tmp_path / place, files)
    amd(tmp_path, 0, "0000:03:00.0", 42_000_000)
    machine = open_machine(Look(sysfs=str(tmp_path), nvml=NO_NVML, model=False))
    unread = {row.id: row.reason for row in machine.unmeasured if row.domain == "gpu"}
    assert unread == {"pci-0000:43:00.0": "no driver shows the power of this AMD GPU"}


def test_a_sleeping_gpu_is_not_read_until_it_wakes(tmp_path: Path) -> None:
    device = amd(tmp_path, 0, "0000:03:00.0", 50_000_000)
    sensor = tmp_path / "class/hwmon/hwmon0/power1_average"
    _make_read_visible(sensor)
    status = write_tree(device, {"power/runtime_status": "suspended"}) / "power/runtime_status"
    with Profiler(sysfs=str(tmp_path), sources=["hwmon"], model=False) as prof:
        time.sleep(0.4)
        assert sensor.stat().st_atime_ns == 0
        status.write_text("active\n")
        time.sleep(0.6)
    report = prof.report()
    assert sensor.stat().st_atime_ns != 0
    row = report.channels["amdgpu0"]
    assert row.coverage == pytest.approx(0.6 / report.run.duration_s, abs=0.25)
    assert row.mean_w == pytest.approx(50.0, rel=1e-3)
    assert "amdgpu0 sleeps" in next(e.text for e in report.events if e.kind == "note")


def _make_read_visible(path: Path) -> None:
    """Sets the time of the last read to 0, where the file system keeps it."""
    os.utime(path, ns=(0, time.time_ns()))
    path.read_text()
    if path.stat().st_atime_ns == 0:
        pytest.skip("this file system does not keep times of access")
    os.utime(path, ns=(0, time.time_ns()))


# -- AMD processors --------------------------------------------------------------------------------


def _sockets(root: Path) -> None:
    files: dict[str, object] = {"energy1_label": "Ecore000", "energy1_input": 5}
    for number in (0, 1):
        files[f"energy{2 + number}_label"] = f"Esocket{number}"
        files[f"energy{2 + number}_input"] = 1000
    chip(root, 0, "amd_energy", files)


def test_sockets_are_packages_and_cores_are_left_out(tmp_path: Path) -> None:
    _sockets(tmp_path)
    path = tmp_path / "class/hwmon/hwmon0/energy3_input"
    with moving(path, lambda seconds: str(1000 + int(80e6 * seconds))):
        report = measured(tmp_path, 1.1)
    assert [row.id for row in report.channel_rows if row.source == "hwmon"] == [
        "package-0",
        "package-1",
    ]
    row = report.channels["package-1"]
    assert (row.quality, row.method) == ("measured", "counter")
    assert row.mean_w == pytest.approx(80.0, rel=0.08)


def test_sockets_yield_to_rapl(tmp_path: Path) -> None:
    _sockets(tmp_path)
    write_tree(tmp_path, powercap({"intel-rapl:0": ("package-0", 5)}))
    machine = open_machine(Look(sysfs=str(tmp_path), nvml=NO_NVML, model=False))
    assert [(row.id, row.source) for row in machine.channels] == [("package-0", "rapl-powercap")]


# -- Intel GPUs ------------------------------------------------------------------------------------


def test_an_intel_card_holds_its_package(tmp_path: Path) -> None:
    files = {
        "energy1_label": "card",
        "energy1_input": 9_000_000,
        "energy2_label": "pkg",
        "energy2_input": 8_000_000,
        "power1_max": 225_000_000,
    }
    chip(tmp_path, 0, "xe", files, address="0000:4d:00.0")
    card, package = find(tmp_path).channels
    assert (card.id, card.counted, card.method) == ("intelgpu0", True, "counter")
    assert card.limit_w == pytest.approx(1.5 * 225)
    assert (package.id, package.counted, package.parent) == ("intelgpu0/pkg", False, "intelgpu0")


def test_an_intel_counter_gives_energy(tmp_path: Path) -> None:
    chip(tmp_path, 0, "i915", {"energy1_input": 0})
    path = tmp_path / "class/hwmon/hwmon0/energy1_input"
    with moving(path, lambda seconds: str(int(120e6 * seconds))):
        report = measured(tmp_path, 1.1)
    row = report.channels["intelgpu0"]
    assert row.quality == "measured"
    assert row.mean_w == pytest.approx(120.0, rel=0.08)


# -- power meters of ACPI --------------------------------------------------------------------------

GRACE = {"Module": 500, "Grace": 200, "CPU": 120, "SysIO": 30}


def grace(root: Path, *parts: str) -> Path:
    for number, part in enumerate(parts):
        device = chip(root, number, "power_meter", {}, address=f"ACPI000D:{number:02d}")
        files = {
            "power1_average": GRACE[part] * 1_000_000,
            "power1_oem_info": f"{part} Power Socket 0",
            "power1_average_interval": 50,
        }
        write_tree(device, files)
    return root


@pytest.mark.parametrize(
    ("parts", "roots"),
    [
        (("Module", "Grace", "CPU", "SysIO"), {"module-0"}),
        (("Grace", "CPU", "SysIO"), {"package-0"}),
        (("Module", "CPU", "SysIO"), {"module-0"}),
        (("CPU", "SysIO"), {"package-0/core", "package-0/uncore"}),
    ],
)
def test_only_the_outermost_of_a_socket_counts(
    tmp_path: Path, parts: tuple[str, ...], roots: set[str]
) -> None:
    found = counted(grace(tmp_path, *parts))
    assert len(found) == len(parts)
    assert {name for name, counts in found.items() if counts} == roots


def test_a_grace_socket_in_watts(tmp_path: Path) -> None:
    report = measured(grace(tmp_path, "Grace", "CPU"))
    assert report.channels["package-0"].mean_w == pytest.approx(200.0, rel=1e-3)
    assert report.channels["package-0/core"].mean_w == pytest.approx(120.0, rel=1e-3)
    assert report.energy_j == report.channels["package-0"].energy_j


@pytest.mark.parametrize(
    ("name", "gpu_counts", "module_counts"),
    [("NVIDIA GH200 480GB", True, False), ("NVIDIA GB200", False, True), ("H100", True, True)],
)
def test_a_module_and_its_gpu_are_counted_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    gpu_counts: bool,
    module_counts: bool,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu = Gpu(waveform.constant(300.0), name=name, limit_w=900.0)
    tree = grace(tmp_path / "sys", "Module", "Grace")
    with simulated.Machine(gpus=(gpu,)).running(tmp_path / "machine") as machine:
        found = counted(tree, "nvml", "hwmon", nvml=machine.nvml)
    assert found == {"gpu0": gpu_counts, "module-0": module_counts, "package-0": False}


def test_nothing_is_modelled_beside_what_is_metered(tmp_path: Path) -> None:
    chip(tmp_path, 0, "power_meter", {"power1_average": 400_000_000})
    machine = open_machine(Look(sysfs=str(tmp_path), nvml=NO_NVML))
    assert [row.id for row in machine.channels] == ["host"]
    assert "nothing is modelled, as host measures the whole machine" in machine.notes


def test_a_meter_of_the_whole_machine_counts_alone_only(tmp_path: Path) -> None:
    chip(tmp_path, 0, "power_meter", {"power1_average": 400_000_000})
    assert counted(tmp_path) == {"host": True}
    amd(tmp_path, 1, "0000:03:00.0", 42_000_000)
    assert counted(tmp_path) == {"host": False, "amdgpu0": True}


# -- Jetson ----------------------------------------------------------------------------------------


def jetson(root: Path, *labels: str) -> Path:
    files: dict[str, object] = {"in7_label": "sum of shunt voltages", "in7_input": 3}
    for number, label in enumerate(labels, start=1):
        files |= {f"in{number}_label": label, f"in{number}_input": 5000}
        files[f"curr{number}_input"] = 400 * number
    chip(root, 0, "ina3221", files)
    return root


def test_a_rail_is_voltage_times_current(tmp_path: Path) -> None:
    report = measured(jetson(tmp_path, "VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"))
    powers_w = {row.id: row.mean_w for row in report.channel_rows}
    assert powers_w == pytest.approx(
        {"VDD_IN": 2.0, "VDD_CPU_GPU_CV": 4.0, "VDD_SOC": 6.0}, rel=1e-3
    )
    assert [row.id for row in report.channel_rows if row.counted] == ["VDD_IN"]
    assert report.channels["VDD_SOC"].parent == "VDD_IN"


def test_without_an_input_rail_all_rails_count(tmp_path: Path) -> None:
    found = counted(jetson(tmp_path, "VDD_GPU_SOC", "NC", "VIN_SYS_5V0"))
    assert found == {"VDD_GPU_SOC": True, "VIN_SYS_5V0": True}
