"""Where NVIDIA's driver says its GPUs sit."""

from __future__ import annotations

import ctypes

_NVML = "libnvidia-ml.so.1"
_SUCCESS = 0
_MIG_ENABLED = 1
_UUID_SIZE = 96


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

    def is_split(self, uuid: str) -> bool:
        """Whether a GPU is in MIG mode."""
        handle = self._handle(uuid)
        current, pending = ctypes.c_uint(0), ctypes.c_uint(0)
        answers = (ctypes.byref(current), ctypes.byref(pending))
        told = handle is not None and self._call("nvmlDeviceGetMigMode", handle, *answers)
        return told and current.value == _MIG_ENABLED

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
