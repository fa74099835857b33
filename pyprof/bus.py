"""GPUs on the PCI bus: where the driver's sit, and those that no driver reads."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass

_NVML = "libnvidia-ml.so.1"
_SUCCESS = 0
_UUID_SIZE = 96

_VENDORS = {0x10DE: "NVIDIA", 0x1002: "AMD", 0x8086: "Intel", 0x1DA3: "Habana"}
# Display controllers (0x03) and processing accelerators (0x12).
_GPU_CLASSES = (0x03, 0x12)
_SECURITY_PROCESSOR = 0x108000


class _PciInfo(ctypes.Structure):
    """NVML's place of a device on the bus, in the driver's layout."""

    _fields_ = (
        ("bus_id_legacy", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pci_device_id", ctypes.c_uint),
        ("pci_subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    )


class Driver:
    """Questions about places that sampling has no need of.

    The native source has loaded and initialised the same library and keeps it open, so nothing is
    initialised here.
    """

    def __init__(self, path: str | None) -> None:
        """Use the library at ``path``, or the system's."""
        try:
            self._library: ctypes.CDLL | None = ctypes.CDLL(path or _NVML)
        except OSError:
            self._library = None

    def bus_id(self, uuid: str) -> tuple[int, int, int] | None:
        """Domain, bus and device of a GPU; None if the driver does not tell."""
        handle = self._handle(uuid)
        info = _PciInfo()
        if handle is None or not self._call("nvmlDeviceGetPciInfo_v3", handle, ctypes.byref(info)):
            return None
        return (int(info.domain), int(info.bus), int(info.device))

    def mig_owner(self, uuid: str) -> str | None:
        """UUID of the GPU that holds a MIG device; None if the driver does not tell."""
        handle = self._handle(uuid)
        board = ctypes.c_void_p()
        name = "nvmlDeviceGetDeviceHandleFromMigDeviceHandle"
        if handle is None or not self._call(name, handle, ctypes.byref(board)):
            return None
        text = ctypes.create_string_buffer(_UUID_SIZE)
        told = self._call("nvmlDeviceGetUUID", board, text, ctypes.c_uint(_UUID_SIZE))
        return text.value.decode("ascii", "replace") if told else None

    def _handle(self, uuid: str) -> ctypes.c_void_p | None:
        handle = ctypes.c_void_p()
        text = ctypes.c_char_p(uuid.encode())
        found = self._call("nvmlDeviceGetHandleByUUID", text, ctypes.byref(handle))
        return handle if found else None

    def _call(self, name: str, *arguments: object) -> bool:
        """Whether the driver has that function and it succeeded."""
        function = getattr(self._library, name, None)
        return function is not None and function(*arguments) == _SUCCESS


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
