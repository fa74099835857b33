"""A management controller's power by IPMI DCMI, through the kernel's ``/dev/ipmi0``.

Structures and numbers are those of ``linux/ipmi.h``; the command is Get Power Reading of the Data
Center Manageability Interface specification 1.5, section 6.6.1.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

from pyprof.bmc import BmcError

_TIMEOUT_S = 5.0
_SYSTEM_INTERFACE, _BMC_CHANNEL = 0x0C, 0x0F
_GROUP_EXTENSION, _POWER_READING, _DCMI = 0x2C, 0x02, 0xDC
_READING = struct.Struct("<BBHHHHIIB")
_MEASURING = 0x40
_UNKNOWN_COMMANDS = (0xC1, 0xC9, 0xCC, 0xD6)


class Address(ctypes.Structure):
    """``ipmi_system_interface_addr``."""

    _fields_ = (("type", ctypes.c_int), ("channel", ctypes.c_short), ("lun", ctypes.c_ubyte))


class Message(ctypes.Structure):
    """``ipmi_msg``."""

    _fields_ = (
        ("netfn", ctypes.c_ubyte),
        ("command", ctypes.c_ubyte),
        ("length", ctypes.c_ushort),
        ("data", ctypes.c_void_p),
    )


class Request(ctypes.Structure):
    """``ipmi_req``."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("address_length", ctypes.c_uint),
        ("number", ctypes.c_long),
        ("message", Message),
    )


class Reply(ctypes.Structure):
    """``ipmi_recv``."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("address", ctypes.c_void_p),
        ("address_length", ctypes.c_uint),
        ("number", ctypes.c_long),
        ("message", Message),
    )


def _number(direction: int, command: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("i") << 8 | command


SEND = _number(2, 13, ctypes.sizeof(Request))
RECEIVE = _number(3, 11, ctypes.sizeof(Reply))


class Dcmi:
    """The controller behind one device of the kernel. ``ioctl`` is fcntl's, or stands for it."""

    def __init__(self, device: str, ioctl: Callable[..., Any] = fcntl.ioctl) -> None:
        """Open the device (BmcError)."""
        self.name = f"DCMI at {device}"
        self._ioctl = ioctl
        self._asked = 0
        try:
            self._fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise BmcError(f"{device}: {error.strerror}", _remedy(error, device)) from None

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def power_w(self) -> float:
        """Watts of now. The reading's own mean may span hours and is not used."""
        answer = self._ask(bytes((_DCMI, 0x01, 0x00, 0x00)))
        if not answer or answer[0] != 0:
            code = answer[0] if answer else 0xFF
            unknown = "it knows no DCMI" if code in _UNKNOWN_COMMANDS else "the command failed"
            raise BmcError(f"{self.name}: {unknown} (completion code 0x{code:02x})")
        if len(answer) < _READING.size or answer[1] != _DCMI:
            raise BmcError(f"{self.name}: an answer that is no power reading: {answer.hex()}")
        power_w, state = _READING.unpack_from(answer)[2], _READING.unpack_from(answer)[-1]
        if not state & _MEASURING or power_w == 0:
            raise BmcError(f"{self.name}: power is not measured (state 0x{state:02x})")
        return float(power_w)

    def _ask(self, data: bytes) -> bytes:
        """Completion code and data of the answer to one request."""
        self._asked += 1
        address = Address(_SYSTEM_INTERFACE, _BMC_CHANNEL, 0)
        body = ctypes.create_string_buffer(data, len(data))
        message = Message(_GROUP_EXTENSION, _POWER_READING, len(data), ctypes.addressof(body))
        size = ctypes.sizeof(address)
        request = Request(ctypes.addressof(address), size, self._asked, message)
        try:
            self._ioctl(self._fd, SEND, request, True)
            return self._answer()
        except OSError as error:
            raise BmcError(f"{self.name}: {error.strerror}") from None

    def _answer(self) -> bytes:
        """The answer to the last request; late ones to earlier requests are passed over."""
        until_s = time.monotonic() + _TIMEOUT_S
        waiting = select.poll()
        waiting.register(self._fd, select.POLLIN)
        while waiting.poll(max(0, round(1e3 * (until_s - time.monotonic())))):
            address, body = Address(), ctypes.create_string_buffer(256)
            message = Message(0, 0, len(body), ctypes.addressof(body))
            size = ctypes.sizeof(address)
            reply = Reply(0, ctypes.addressof(address), size, 0, message)
            self._ioctl(self._fd, RECEIVE, reply, True)
            if reply.number == self._asked:
                return body.raw[: reply.message.length]
        raise OSError(errno.ETIMEDOUT, f"no answer in {_TIMEOUT_S:g} s")


def _remedy(error: OSError, device: str) -> str:
    if error.errno == errno.ENOENT:
        return "sudo modprobe ipmi_si ipmi_devintf"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"run pyprof where {device} can be opened: whoever can may also switch the machine "
            "off, so give a group of administrators access, not everybody"
        )
    return ""
