"""Errors and intervals of stages on simulated sensors, in simulated time, each beside its goal.

    python tools/bench/joules.py [--rounds 6] [--only held,pooled] [--json FILE] [-v]

Builds ``tools/bench/joules.cpp`` in ``build/bench`` and runs it. Columns are in percent of a
stage's energy: the bias of the sum, the median, the 95th percentile and the worst error, the mean
half-width of the 95 % intervals, its ratio to the 95th percentile of the error, and how often the
truth lies inside. ``pacer`` rows drive the pacer that reads real hardware; ``3 % bracket`` rows
place each change between two reads that are 3 % of a period apart. ``step`` has loops that last a
multiple of half an update. No constant was chosen by the
loads of ``others`` and ``unseen``; the latter had no part in finding causes of errors, either. Each
set ends with how many goals it met.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"


def main() -> int:
    configure = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-DPYPROF_NATIVE_TESTS=ON"]
    configure.append(f"-DPython_EXECUTABLE={sys.executable}")
    for command in (configure, ["cmake", "--build", str(BUILD), "--target", "joules", "-j2"]):
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            print(built.stdout + built.stderr, file=sys.stderr)
            return 1
    return subprocess.run([str(BUILD / "joules"), *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
