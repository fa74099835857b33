"""User instructions of a tick, counted by callgrind: the sampler against the bare loop.

    python tools/bench/instructions.py [--most 1.25] [--build DIR]

Exact, so it needs no quiet machine. Both read four RAPL zones and eight GPUs of a simulated machine
and parse numbers in the same way. The exit status is 1 if the ratio is above ``--most``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from sampler import build_floor, floor_command, machine

ROOT = Path(__file__).resolve().parents[2]
INTERVAL_NS = 10_000_000
SECONDS = 4.0
LOOP = "pyprof::LaneThread::run*"


def build_ticks(build: Path) -> Path:
    """The sampler without Python, compiled as for a release."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-DPYPROF_NATIVE_TESTS=ON"]
    configure.append(f"-DPython_EXECUTABLE={sys.executable}")
    for command in (configure, ["cmake", "--build", str(build), "--target", "ticks", "-j2"]):
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            raise SystemExit(built.stdout + built.stderr)
    return build / "ticks"


def count(command: list[str], function: str, environment: dict[str, str]) -> float:
    """Instructions within ``function`` per tick of ``command``."""
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ["valgrind", "--tool=callgrind", f"--toggle-collect={function}"]
        done = subprocess.run(
            [*valgrind, f"--callgrind-out-file={folder}/out", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or collected is None:
        raise SystemExit(f"{command[0]}: {done.stderr}")
    return int(collected[1]) / float(json.loads(done.stdout)["ticks"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--most", type=float, default=1.25, help="highest ratio that passes")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "bench")
    arguments = parser.parse_args()
    ticks = build_ticks(arguments.build)
    with tempfile.TemporaryDirectory() as folder, machine().running(Path(folder)) as running:
        environment = {**os.environ, **running.env}
        floor = floor_command(build_floor(Path(folder)), running, INTERVAL_NS, SECONDS, "both")
        bare = count(floor, "tick", environment)
        command = [str(ticks), running.sysfs, running.nvml, str(INTERVAL_NS), str(SECONDS)]
        ours = count(command, LOOP, environment)
    ratio = ours / bare
    print(f"instructions per tick: floor {bare:.0f}, sampler {ours:.0f}, ratio {ratio:.3f}")
    return 0 if ratio <= arguments.most else 1


if __name__ == "__main__":
    raise SystemExit(main())
