"""GPUs of AMD and Intel through simulated libraries of their vendors."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sysfs_tree import NO_NVML, write_tree

from pyprof.energy import Channel, EnergyReport
from pyprof.hardware import Look, open_machine
from pyprof.session import Session

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from sim import build, waveform
from sim.accelerator import INTEL_COUNTER, Accelerator, Library, amd_smi, level_zero
from sim.fault import ALWAYS, Fault, Span

AMD = Accelerator(waveform.square(150.0, 600.0, period_s=0.7))
INTEL = Accelerator(
    waveform.square(120.0, 420.0, period_s=0.7),
    name="Intel(R) Data Center GPU Max 1550",
    uuid="0123456789abcdef",
    place=(0, 0x4D, 0, 0),
    counter=INTEL_COUNTER,
    limit_w=600.0,
)
NOT_SUPPORTED = {"amd-smi": 2, "level-zero": 0x78000003}
NO_PERMISSION = {"amd-smi": 10, "level-zero": 0x70010000}
LOST = {"amd-smi": 31, "level-zero": 0x70000001}

Kind = tuple[str, Any, Accelerator]
KINDS: list[Kind] = [("amd-smi", amd_smi, AMD), ("level-zero", level_zero, INTEL)]
both = pytest.mark.parametrize(("name", "running", "gpu"), KINDS, ids=[kind[0] for kind in KINDS])


def look(name: str, library: Library, tree: Path, *, sources: tuple[str, ...] = ()) -> Look:
    field = {"amd-smi": "amd_smi", "level-zero": "level_zero"}[name]
    places: dict[str, Any] = {field: library.path}
    return Look(sysfs=str(tree), nvml=NO_NVML, sources=sources or (name,), model=False, **places)


def measured(where: Look, seconds: float) -> EnergyReport:
    session = Session(where, out=None)
    session.start()
    time.sleep(seconds)
    session.stop()
    return session.recording.report()


def gpus(report: EnergyReport) -> list[Channel]:
    return [row for row in report.channel_rows if row.domain == "gpu"]


def chip(root: Path, number: int, name: str, address: str, files: dict[str, object]) -> None:
    folder = root / f"class/hwmon/hwmon{number}"
    device = root / "devices" / address
    device.mkdir(parents=True)
    write_tree(folder, {"name": name, **files})
    (folder / "device").symlink_to(device)


def on_bus(root: Path, address: str, vendor: str) -> None:
    write_tree(root / "bus/pci/devices" / address, {"vendor": vendor, "class": "0x038000"})


@both
def test_the_counter_gives_the_true_energy(
    tmp_path: Path, name: str, running: Any, gpu: Accelerator
) -> None:
    with running(tmp_path, gpu, replace(gpu, place=(1, 0x83, 0, 0))) as library:
        report = measured(look(name, library, tmp_path), 4.13)
        span = report.run.start_mono_ns, report.run.end_mono_ns
        truth_j = library.truth_j(0, *span)
    first, second = gpus(report)
    assert (first.quality, first.method, first.domain) == ("measured", "counter", "gpu")
    assert first.source == name
    assert first.device == f"{gpu.name} at {gpu.address}"
    assert first.energy_j == pytest.approx(truth_j, rel=0.02)
    assert second.energy_j == pytest.approx(truth_j, rel=0.02)
    assert {first.id[-1], second.id[-1]} == {"0", "1"}


@both
def test_what_it_refuses_is_said(tmp_path: Path, name: str, running: Any, gpu: Accelerator) -> None:
    denied = replace(gpu, faults=(Fault(ALWAYS, NO_PERMISSION[name]),))
    with running(tmp_path, denied) as library:
        machine = open_machine(look(name, library, tmp_path))
    assert machine.channels == ()
    (channel,) = (row for row in machine.unmeasured if row.domain == "gpu")
    assert "ermission" in channel.reason
    (source,) = machine.sources
    assert not source.available
    assert source.reason == f"{channel.id}: {channel.reason}"


@both
def test_a_gpu_that_is_lost_and_back_is_bridged(
    tmp_path: Path, name: str, running: Any, gpu: Accelerator
) -> None:
    flaky = replace(gpu, faults=(Fault(Span(1.2, 1.8), LOST[name]),))
    with running(tmp_path, flaky) as library:
        time.sleep(0.4)
        report = measured(look(name, library, tmp_path), 2.5)
        truth_j = library.truth_j(0, report.run.start_mono_ns, report.run.end_mono_ns)
    (row,) = gpus(report)
    assert row.energy_j == pytest.approx(truth_j, rel=0.03)
    assert {"lost", "back"} <= {event.kind for event in report.events}


@both
def test_a_counter_that_starts_again_is_a_reset(
    tmp_path: Path, name: str, running: Any, gpu: Accelerator
) -> None:
    with running(tmp_path, replace(gpu, resets_s=(1.3,))) as library:
        report = measured(look(name, library, tmp_path), 2.2)
        truth_j = library.truth_j(0, report.run.start_mono_ns, report.run.end_mono_ns)
    (row,) = gpus(report)
    assert row.energy_j is not None
    assert 0.8 * truth_j < row.energy_j < 1.05 * truth_j
    assert "reset" in {event.kind for event in report.events}


@both
@pytest.mark.parametrize("content", [None, b"no library\n"])
def test_a_library_that_is_none_is_explained(
    tmp_path: Path, name: str, running: Any, gpu: Accelerator, content: bytes | None
) -> None:
    path = tmp_path / "library.so"
    if content is not None:
        path.write_bytes(content)
    machine = open_machine(look(name, Library(str(path), 0, ()), tmp_path))
    (source,) = machine.sources
    assert source.reason is not None
    assert str(path) in source.reason
    assert source.remedy is not None
    assert {"amd-smi": "PYPROF_AMDSMI", "level-zero": "PYPROF_ZES"}[name] in source.remedy


@both
def test_a_library_of_something_else_is_explained(
    tmp_path: Path, name: str, running: Any, gpu: Accelerator
) -> None:
    (source,) = open_machine(look(name, Library("libm.so.6", 0, ()), tmp_path)).sources
    assert source.reason is not None
    assert "lacks" in source.reason


@both
def test_without_such_a_gpu_nothing_is_loaded_and_no_advice_is_given(
    tmp_path: Path, name: str, running: Any, gpu: Accelerator
) -> None:
    machine = open_machine(Look(sysfs=str(tmp_path), nvml=NO_NVML, sources=(name,), model=False))
    (source,) = machine.sources
    assert source.reason is not None
    assert source.reason.endswith("GPU is on the bus")
    assert source.remedy is None


def _in_child(where: Look, write: int) -> None:
    os.write(write, str([row.method for row in open_machine(where).channels]).encode())


@both
def test_a_forked_child_starts_the_library_for_itself(
    tmp_path: Path, name: str, running: Any, gpu: Accelerator
) -> None:
    with running(tmp_path, gpu) as library:
        where = look(name, library, tmp_path)
        held = open_machine(where)
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            try:
                _in_child(where, write)
            finally:
                os._exit(0)
        os.close(write)
        assert os.read(read, 100) == b"['counter']"
        os.close(read)
        os.waitpid(child, 0)
    assert held.channels


# -- AMD -------------------------------------------------------------------------------------------


def test_the_parts_of_a_split_gpu_have_one_counter(tmp_path: Path) -> None:
    with amd_smi(tmp_path, replace(AMD, processors=8)) as library:
        machine = open_machine(look("amd-smi", library, tmp_path))
    assert [row.id for row in machine.channels] == ["amdgpu0"]


def test_a_counter_that_never_moves_is_none(tmp_path: Path) -> None:
    still = waveform.constant(0.0)
    second = replace(AMD.counter, start_count=0)
    frozen = replace(AMD, signal=still)
    with amd_smi(tmp_path, frozen, replace(frozen, counter=second)) as library:
        machine = open_machine(look("amd-smi", library, tmp_path))
    reasons = [row.reason for row in machine.unmeasured if row.domain == "gpu"]
    assert reasons[0] == "its energy counter stands still"
    assert "second die" in reasons[1]


def test_the_library_s_counter_comes_before_the_kernel_s_power(tmp_path: Path) -> None:
    tree = tmp_path / "sys"
    files: dict[str, object] = {"power1_average": 333_000_000, "power1_cap_max": 750_000_000}
    chip(tree, 0, "amdgpu", "0000:03:00.0", files)
    chip(tree, 1, "amdgpu", AMD.address, files)
    with amd_smi(tmp_path, AMD) as library:
        machine = open_machine(look("amd-smi", library, tree, sources=("amd-smi", "hwmon")))
    rows = {row.id: row for row in machine.channels}
    assert {row.id: row.source for row in machine.channels} == {
        "amdgpu0": "hwmon",
        "amdgpu1": "amd-smi",
    }
    assert rows["amdgpu1"].limit_w == pytest.approx(1.5 * 750)
    assert any("is read through amd-smi" in note for note in machine.notes)


def test_the_kernel_s_power_stands_in_for_a_frozen_counter(tmp_path: Path) -> None:
    tree = tmp_path / "sys"
    chip(tree, 0, "amdgpu", AMD.address, {"power1_average": 333_000_000})
    with amd_smi(tmp_path, replace(AMD, signal=waveform.constant(0.0))) as library:
        machine = open_machine(look("amd-smi", library, tree, sources=("amd-smi", "hwmon")))
    assert [(row.id, row.source) for row in machine.channels] == [("amdgpu0", "hwmon")]
    assert not [row for row in machine.unmeasured if row.domain == "gpu"]


# -- Intel -----------------------------------------------------------------------------------------


def test_values_near_nothing_are_read_again(tmp_path: Path) -> None:
    with level_zero(tmp_path, replace(INTEL, glitch_every=7)) as library:
        report = measured(look("level-zero", library, tmp_path), 2.0)
        truth_j = library.truth_j(0, report.run.start_mono_ns, report.run.end_mono_ns)
    (row,) = gpus(report)
    assert row.energy_j == pytest.approx(truth_j, rel=0.03)
    assert "reset" not in {event.kind for event in report.events}


def test_the_kernel_s_counter_comes_before_the_library_s(tmp_path: Path) -> None:
    tree = tmp_path / "sys"
    chip(tree, 0, "xe", INTEL.address, {"energy1_input": 9_000_000})
    with level_zero(tmp_path, INTEL) as library:
        machine = open_machine(look("level-zero", library, tree, sources=("hwmon", "level-zero")))
    assert [(row.id, row.source) for row in machine.channels] == [("intelgpu0", "hwmon")]


def test_the_library_is_not_loaded_where_the_kernel_shows_every_card(tmp_path: Path) -> None:
    on_bus(tmp_path, INTEL.address, "0x8086")
    chip(tmp_path, 0, "xe", INTEL.address, {"energy1_input": 9_000_000})
    where = Look(sysfs=str(tmp_path), nvml=NO_NVML, sources=("level-zero",), model=False)
    (source,) = open_machine(where).sources
    assert source.reason == "not needed, as hwmon shows the same counters"
    on_bus(tmp_path, "0000:99:00.0", "0x8086")
    (source,) = open_machine(where).sources
    assert source.reason is not None
    assert "Level Zero" in source.reason


def test_limit_and_identity_are_the_vendor_s(tmp_path: Path) -> None:
    with level_zero(tmp_path, INTEL) as library:
        (row,) = open_machine(look("level-zero", library, tmp_path)).channels
    assert row.limit_w == pytest.approx(1.5 * 600)
    assert row.uuid == INTEL.uuid.encode().hex()


# -- the vendors' own bindings on the same libraries -----------------------------------------------


class _Everything:
    """A library whose missing functions exist and are never called."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self._library, name)
        except AttributeError:
            return ctypes.CFUNCTYPE(ctypes.c_int)()


@pytest.fixture
def amd_binding(monkeypatch: pytest.MonkeyPatch) -> Any:
    """AMD's ctypes declarations, applied to the library at a path."""
    spec = importlib.util.find_spec("amdsmi")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("AMD's binding is not installed: pip install amdsmi")
    file = Path(spec.submodule_search_locations[0], "amdsmi_wrapper.py")

    def apply(path: str) -> ModuleType:
        real = ctypes.CDLL
        monkeypatch.setattr(ctypes, "CDLL", lambda *_: _Everything(real(path)))
        wrapper = importlib.util.spec_from_file_location("amd_declarations", file)
        assert wrapper is not None
        assert wrapper.loader is not None
        module = importlib.util.module_from_spec(wrapper)
        wrapper.loader.exec_module(module)
        monkeypatch.setattr(ctypes, "CDLL", real)
        return module

    return apply


def test_amd_s_own_declarations_fit(tmp_path: Path, amd_binding: Any) -> None:
    """Their argument types on our library: the same energy, place, name and identity."""
    with amd_smi(tmp_path, AMD) as library:
        amd = amd_binding(library.path)
        (row,) = open_machine(look("amd-smi", library, tmp_path)).channels
        assert amd.amdsmi_init(amd.AMDSMI_INIT_AMD_GPUS) == amd.AMDSMI_STATUS_SUCCESS
        socket, processor = amd.amdsmi_socket_handle(), amd.amdsmi_processor_handle()
        one = ctypes.c_uint32(1)
        assert amd.amdsmi_get_socket_handles(one, ctypes.byref(socket)) == 0
        assert amd.amdsmi_get_processor_handles(socket, one, ctypes.byref(processor)) == 0
        count, unit, stamp = ctypes.c_uint64(), ctypes.c_float(), ctypes.c_uint64()
        assert amd.amdsmi_get_energy_count(processor, count, unit, stamp) == 0
        place, asic = amd.amdsmi_bdf_t(), amd.amdsmi_asic_info_t()
        assert amd.amdsmi_get_gpu_device_bdf(processor, place) == 0
        assert amd.amdsmi_get_gpu_asic_info(processor, asic) == 0
        length, uuid = ctypes.c_uint32(64), ctypes.create_string_buffer(64)
        assert amd.amdsmi_get_gpu_device_uuid(processor, length, uuid) == 0
    assert unit.value * 1e-6 == pytest.approx(row.unit)
    assert count.value > AMD.counter.start_count
    assert (place.bdf.domain_number, place.bdf.bus_number) == (0, 0x0C)
    assert row.device == f"{asic.market_name.decode()} at 0000:0c:00.0"
    assert row.uuid == uuid.value.decode()
    assert amd.AMDSMI_PROCESSOR_TYPE_AMD_GPU == 1
    assert (amd.AMDSMI_STATUS_NOT_SUPPORTED, amd.AMDSMI_STATUS_NO_PERM) == (2, 10)
    assert (amd.AMDSMI_STATUS_NOT_FOUND, amd.AMDSMI_STATUS_NOT_INIT) == (31, 32)
    assert (amd.AMDSMI_STATUS_DRIVER_NOT_LOADED, amd.AMDSMI_STATUS_NO_DATA) == (34, 40)


def test_intel_s_own_header_fits() -> None:
    folder = Path(os.environ.get("SIM_LEVEL_ZERO_INCLUDE", "/usr/include"))
    if not (folder / "level_zero/zes_api.h").exists():
        pytest.skip("Intel's header is not installed: apt-get install libze-dev")
    file = build.HERE / "accelerators/level_zero_header.cpp"
    words = [*build.compiler(), *build.FLAGS, "-fsyntax-only", f"-I{build.CSRC}", f"-I{folder}"]
    done = subprocess.run([*words, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_intel_s_own_binding_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("pyzes") is None:
        pytest.skip("Intel's binding is not installed: pip install pyzes")
    steady = replace(INTEL, signal=waveform.constant(287.0))
    with level_zero(tmp_path, steady) as library:
        real = ctypes.CDLL
        # It loads Intel's library from one place, when it is imported.
        monkeypatch.setattr(ctypes, "CDLL", lambda *_: real(library.path))
        zes = importlib.import_module("pyzes")
        monkeypatch.setattr(ctypes, "CDLL", real)
        (row,) = open_machine(look("level-zero", library, tmp_path)).channels
        assert zes.zesInit(0) == 0
        driver, device, power = (
            zes.zes_driver_handle_t(),
            zes.zes_device_handle_t(),
            zes.zes_pwr_handle_t(),
        )
        one = ctypes.c_uint32(1)
        assert zes.zesDriverGet(ctypes.byref(one), ctypes.byref(driver)) == 0
        assert zes.zesDeviceGet(driver, ctypes.byref(one), ctypes.byref(device)) == 0
        about = zes.zes_device_properties_t(stype=zes.ZES_STRUCTURE_TYPE_DEVICE_PROPERTIES)
        assert zes.zesDeviceGetProperties(device, ctypes.byref(about)) == 0
        place = zes.zes_pci_properties_t(stype=zes.ZES_STRUCTURE_TYPE_PCI_PROPERTIES)
        assert zes.zesDevicePciGetProperties(device, ctypes.byref(place)) == 0
        assert zes.zesDeviceEnumPowerDomains(device, ctypes.byref(one), ctypes.byref(power)) == 0
        limits = zes.zes_power_properties_t(stype=zes.ZES_STRUCTURE_TYPE_POWER_PROPERTIES)
        assert zes.zesPowerGetProperties(power, ctypes.byref(limits)) == 0
        first, last = zes.zes_power_energy_counter_t(), zes.zes_power_energy_counter_t()
        assert zes.zesPowerGetEnergyCounter(power, ctypes.byref(first)) == 0
        time.sleep(1.5)
        assert zes.zesPowerGetEnergyCounter(power, ctypes.byref(last)) == 0
    assert row.device == f"{about.core.name.decode()} at 0000:4d:00.0"
    assert place.address.bus == 0x4D
    assert limits.maxLimit * 1e-3 * 1.5 == pytest.approx(row.limit_w)
    watts = (last.energy - first.energy) / (last.timestamp - first.timestamp)
    assert watts == pytest.approx(287.0, rel=0.15)  # of a counter with an update each 100 ms
