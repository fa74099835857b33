"""Thousands of starts and stops in one process: no descriptor, thread or byte stays behind.

cd tools; python -m soak.cycles --cycles 10000

What counts is the second half, when pools and caches are full.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyprof

_SIGNALS = """
[[channel]]
id = "package-0"
kind = "constant"
watts = 100.0
sensor = { period_s = 0.001 }
"""


class _Mallinfo(ctypes.Structure):
    """``mallinfo2`` of glibc; ``uordblks`` is what is in use, without what is kept for later."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def _used_bytes() -> int:
    """Of the C heap, and of Python's own pools in whole blocks."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed pieces that wait in caches count as used
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Mallinfo
    return int(ask().uordblks) + 64 * sys.getallocatedblocks()


def _resident_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def _state() -> tuple[int, int, int, int]:
    time.sleep(0.2)  # a thread that was joined is in the list for a moment
    threads = len(os.listdir("/proc/self/task"))
    used = _used_bytes()
    return len(os.listdir("/proc/self/fd")), threads, _resident_kib(), used


def main() -> int:
    """Start, stop, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=10, help="one in so many writes a file")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        signals = folder / "signals.toml"
        signals.write_text(_SIGNALS, encoding="utf-8")
        out = folder / "run.pyprof"
        begun = None
        for number in range(chosen.cycles):
            path = out if number % chosen.every == 0 else None
            prof = pyprof.Profiler(out=path, simulate=str(signals), interval=0.001)
            with prof, prof.stage("step"):
                pass
            del prof  # without a file it keeps what it recorded
            if path is not None:
                out.unlink()
            if number in (chosen.cycles // 4, chosen.cycles // 2):  # looking costs memory once
                begun = _state()
        assert begun is not None
        ended = _state()
    print(f"descriptors {begun[0]} -> {ended[0]}, threads {begun[1]} -> {ended[1]}")
    cycles = chosen.cycles - chosen.cycles // 2
    each, used = (ended[2] - begun[2]) * 1024 / cycles, (ended[3] - begun[3]) / cycles
    print(f"resident {begun[2]} -> {ended[2]} KiB: {each:.0f} bytes a cycle")
    print(f"in use   {begun[3]} -> {ended[3]} bytes: {used:.1f} bytes a cycle")
    leaked = ended[0] > begun[0] or ended[1] > begun[1] or threading.active_count() > 1
    return int(leaked or each > 200 or used > 2)


if __name__ == "__main__":
    sys.exit(main())
