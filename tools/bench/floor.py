"""The bare C loop that everything is held against, and the simulated machine that both read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.gpu import Gpu
from sim.machine import Machine, Running
from sim.sensor import Sensor
from sim.waveform import constant, square
from sim.zone import Zone

SOURCE = Path(__file__).resolve().with_name("floor.c")
READS = 12  # of a tick


def machine() -> Machine:
    """Two sockets with memory, eight GPUs that update every 100 ms at phases of their own."""
    packages = [
        Zone(f"package-{i}", square(60.0, 240.0), children=(Zone("dram", constant(20.0)),))
        for i in range(2)
    ]
    gpus = [
        Gpu(square(100.0, 600.0), counter=Sensor(0.1, phase_s=0.0117 * i, quantum_j=1e-3))
        for i in range(8)
    ]
    return Machine(zones=packages, gpus=gpus)


def build(folder: Path) -> Path:
    """The loop, compiled."""
    target = folder / "floor"
    command = ["cc", "-O2", "-g", "-o", str(target), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, text=True)
    return target


def command(program: Path, running: Running, interval_ns: int, seconds: float) -> list[str]:
    """What runs the loop over the same files and GPUs as the sampler reads."""
    zones = (Path(running.sysfs) / "class/powercap").glob("intel-rapl:*/energy_uj")
    files = sorted(str(path) for path in zones)
    return [str(program), str(interval_ns), str(seconds), "-n", running.nvml, *files]


def run(words: list[str], running: Running) -> dict[str, float]:
    """Runs a program on that machine; the JSON that it prints."""
    environment = {**os.environ, **running.env}
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, check=True, cwd="/"
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result
