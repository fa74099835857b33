"""GPUs on the PCI bus, whether or not a driver reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

_VENDORS = {0x10DE: "NVIDIA", 0x1002: "AMD", 0x8086: "Intel", 0x1DA3: "Habana"}
# Display controllers (0x03) and processing accelerators (0x12).
_GPU_CLASSES = (0x03, 0x12)
_SECURITY_PROCESSOR = 0x108000


@dataclass(frozen=True, slots=True)
class PciGpu:
    """A GPU as the bus lists it."""

    address: str
    vendor: str
    device_id: int
    driver: str | None


def pci_gpus(sysfs: str) -> list[PciGpu]:
    """GPUs with a power of their own: no virtual or server-management display, none in a CPU."""
    folder = os.path.join(sysfs, "bus/pci/devices")
    try:
        addresses = sorted(os.listdir(folder))
    except OSError:
        return []
    return [gpu for address in addresses for gpu in _gpu_at(folder, address)]


def _gpu_at(folder: str, address: str) -> Iterator[PciGpu]:
    place = os.path.join(folder, address)
    vendor, device_class = _hexadecimal(place, "vendor"), _hexadecimal(place, "class")
    if vendor not in _VENDORS or device_class is None or device_class >> 16 not in _GPU_CLASSES:
        return
    if _inside_cpu(folder, address, _VENDORS[vendor]):
        return
    driver = os.path.basename(os.path.realpath(os.path.join(place, "driver")))
    known = os.path.exists(os.path.join(place, "driver"))
    device_id = _hexadecimal(place, "device") or 0
    yield PciGpu(address, _VENDORS[vendor], device_id, driver if known else None)


def _inside_cpu(folder: str, address: str, vendor: str) -> bool:
    """Whether the GPU is on the CPU's die: its power is then the package's."""
    if vendor == "Intel":
        return address.endswith(":00:02.0")
    return vendor == "AMD" and _shares_slot_with_cpu(folder, address)


def _shares_slot_with_cpu(folder: str, address: str) -> bool:
    """AMD's CPUs with graphics carry their security processor in the same slot."""
    slot = address.rpartition(".")[0] + "."
    neighbours = (name for name in os.listdir(folder) if name.startswith(slot))
    classes = (_hexadecimal(os.path.join(folder, name), "class") for name in neighbours)
    return _SECURITY_PROCESSOR in classes


def _hexadecimal(place: str, name: str) -> int | None:
    try:
        with open(os.path.join(place, name), encoding="ascii") as file:
            return int(file.read(), 16)
    except (OSError, ValueError):
        return None
