"""Power of the whole machine as its management controller tells it, by DCMI or Redfish.

A controller takes up to seconds to answer, so a thread of its own asks, and writes what it hears
into a pipe, in the lines of an external meter. The sampler reads that pipe like any other meter.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Protocol

from pyprof.errors import PyprofError

PREFIXES = ("dcmi:", "redfish:")
"""How the place of a meter begins that is a controller."""

PERIOD_S = 2.0
"""Controllers take their power about once a second, and suffer from being asked oftener."""


class BmcError(PyprofError):
    """A controller that does not tell its power, and the remedy ("" if there is none)."""

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


class Controller(Protocol):
    """Something that can be asked for the power of now."""

    name: str

    def power_w(self) -> float:
        """Watts; BmcError if it does not tell."""
        ...


def connect(place: str) -> Controller:
    """The controller at ``dcmi:[DEVICE]`` or ``redfish:URL``."""
    kind, _, where = place.partition(":")
    if kind == "dcmi":
        from pyprof.dcmi import Dcmi

        return Dcmi(where or "/dev/ipmi0")
    from pyprof.redfish import Redfish

    return Redfish(where)


class Feed:
    """A controller's answers as lines in a pipe, until nobody reads it any more."""

    def __init__(self, controller: Controller, period_s: float | None = None) -> None:
        """Ask once, so that what can't be read is known at once (BmcError)."""
        self._controller = controller
        self._period_s = PERIOD_S if period_s is None else period_s
        first = self._line()
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        os.write(self._write_fd, first)
        self.path = f"/proc/self/fd/{self._read_fd}"
        threading.Thread(target=self._keep, name="pyprof-bmc", daemon=True).start()

    def hand_over(self) -> None:
        """Leave the reading to whoever has opened ``path``."""
        os.close(self._read_fd)

    def _line(self) -> bytes:
        before_s = time.monotonic()
        power_w = self._controller.power_w()
        return f"{(before_s + time.monotonic()) / 2:.3f} {power_w:.3f} W\n".encode()

    def _keep(self) -> None:
        next_s = time.monotonic()
        # A pipe that nobody reads is closed, or full because a forked child holds it open.
        with suppress(BrokenPipeError, BlockingIOError):
            while True:
                next_s = max(next_s + self._period_s, time.monotonic())
                time.sleep(max(0.0, next_s - time.monotonic()))
                with suppress(BmcError):  # silence: the meter is lost, and says so
                    os.write(self._write_fd, self._line())
        os.close(self._write_fd)
