"""Thousands of starts and stops in one process: no descriptor, thread or byte stays behind.

cd tools; python -m soak.cycles --cycles 10000
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import threading
from pathlib import Path

import pyprof

_SIGNALS = """
[[channel]]
id = "package-0"
kind = "constant"
watts = 100.0
sensor = { period_s = 0.001 }
"""


def _resident_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def _state() -> tuple[int, int, int]:
    threads = len(os.listdir("/proc/self/task"))
    return len(os.listdir("/proc/self/fd")), threads, _resident_kib()


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
            if path is not None:
                out.unlink()
            if number == min(200, chosen.cycles // 2):
                begun = _state()
        assert begun is not None
        ended = _state()
    print(f"descriptors {begun[0]} -> {ended[0]}, threads {begun[1]} -> {ended[1]}")
    each = (ended[2] - begun[2]) * 1024 / chosen.cycles
    print(f"resident {begun[2]} -> {ended[2]} KiB: {each:.0f} bytes a cycle")
    leaked = ended[0] > begun[0] or ended[1] > begun[1] or threading.active_count() > 1
    return int(leaked or each > 200)


if __name__ == "__main__":
    sys.exit(main())
