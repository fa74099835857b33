"""Which devices on the PCI bus are GPUs that draw power of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyprof.bus import PciGpu, pci_gpus
from pyprof.driver import Driver


def _device(root: Path, address: str, vendor: int, class_: int, driver: str | None = None) -> None:
    place = root / "bus/pci/devices" / address
    place.mkdir(parents=True)
    (place / "vendor").write_text(f"0x{vendor:04x}\n")
    (place / "class").write_text(f"0x{class_:06x}\n")
    (place / "device").write_text("0x20b0\n")
    if driver:
        folder = root / "bus/pci/drivers" / driver
        folder.mkdir(parents=True, exist_ok=True)
        (place / "driver").symlink_to(folder)


def test_gpus_and_accelerators_are_listed_with_their_driver(tmp_path: Path) -> None:
    _device(tmp_path, "0000:17:00.0", 0x10DE, 0x030200, "nvidia")
    _device(tmp_path, "0000:65:00.0", 0x1002, 0x120000)
    assert pci_gpus(str(tmp_path)) == [
        PciGpu("0000:17:00.0", "NVIDIA", 0x20B0, "nvidia"),
        PciGpu("0000:65:00.0", "AMD", 0x20B0, None),
    ]


@pytest.mark.parametrize(
    ("vendor", "class_"),
    [
        (0x1A03, 0x030000),  # a server's management display
        (0x1234, 0x030000),  # an emulator's display
        (0x1AF4, 0x038000),  # a paravirtual display
        (0x10DE, 0x040300),  # the sound of a GPU
        (0x10DE, 0x020700),  # a network card of the same maker
    ],
)
def test_what_is_no_gpu_is_not_listed(tmp_path: Path, vendor: int, class_: int) -> None:
    _device(tmp_path, "0000:03:00.0", vendor, class_)
    assert pci_gpus(str(tmp_path)) == []


def test_graphics_on_the_cpu_die_belong_to_the_package(tmp_path: Path) -> None:
    _device(tmp_path, "0000:00:02.0", 0x8086, 0x030000, "i915")
    _device(tmp_path, "0000:c1:00.0", 0x1002, 0x030000, "amdgpu")
    _device(tmp_path, "0000:c1:00.2", 0x1022, 0x108000, "ccp")
    _device(tmp_path, "0000:03:00.0", 0x1002, 0x030000, "amdgpu")
    assert [gpu.address for gpu in pci_gpus(str(tmp_path))] == ["0000:03:00.0"]


def test_no_bus_and_no_library_are_no_error(tmp_path: Path) -> None:
    assert pci_gpus(str(tmp_path)) == []
    driver = Driver(str(tmp_path / "libnvidia-ml.so.1"))
    assert driver.bus_id("GPU-1") is None
    assert driver.mig_owner("MIG-1") is None
