"""User instructions per tick by callgrind: the installed sampler against the bare loop.

    python tools/bench/instructions.py [--most 1.5] [--seconds 1]

Exact, so it needs no quiet machine. Both read four RAPL zones and eight GPUs of a simulated machine
a thousand times a second and parse numbers in the same way; instructions of the simulated library
are counted on both sides. Counted of the sampler is all that its threads do, from their beginning
to their end. The exit status is 1 if the ratio is above ``--most``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import floor
from sim.machine import Running

INTERVAL_NS = 1_000_000

SAMPLE = """
import json, sys, time
from pyprof import _native
sysfs, nvml, interval_ns, seconds = sys.argv[1:]
hardware = _native.Hardware(sysfs=sysfs, nvml=nvml, sources=["rapl-powercap", "nvml"])
sampler = _native.Sampler(hardware, int(interval_ns))
sampler.start()
time.sleep(float(seconds))
sampler.stop(0)
print(json.dumps({"reads": sampler.stats()["reads"]}))
"""


def counted(words: list[str], function: str, running: Running) -> tuple[int, dict[str, float]]:
    """Instructions within ``function`` of a program, and the JSON that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--callgrind-out-file={folder}/out", f"--toggle-collect={function}"]
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", *options, *words],
            env={**os.environ, **running.env},
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or collected is None or int(collected[1]) == 0:
        raise SystemExit(f"{words[0]}: {done.stderr}")
    return int(collected[1]), json.loads(done.stdout)


def of_floor(running: Running, folder: Path, seconds: float) -> float:
    words = floor.command(floor.build(folder), running, INTERVAL_NS, seconds)
    instructions, said = counted(words, "tick", running)
    return instructions / said["ticks"]


def of_sampler(running: Running, seconds: float) -> float:
    program = [sys.executable, "-c", SAMPLE, running.sysfs, running.nvml]
    words = [*program, str(INTERVAL_NS), str(seconds)]
    instructions, said = counted(words, "pyprof::LaneThread::run*", running)
    return instructions / (said["reads"] / floor.READS)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--most", type=float, default=1.5, help="highest ratio that passes")
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("there is no valgrind: install it with `apt-get install valgrind`")
    with tempfile.TemporaryDirectory() as name, floor.machine().running(Path(name)) as running:
        bare = of_floor(running, Path(name), arguments.seconds)
        ours = of_sampler(running, arguments.seconds)
    ratio = ours / bare
    print(f"instructions per tick: floor {bare:.0f}, sampler {ours:.0f}, ratio {ratio:.3f}")
    return 0 if ratio <= arguments.most else 1


if __name__ == "__main__":
    raise SystemExit(main())
