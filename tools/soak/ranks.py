"""Ranks that share a run, with the one that samples killed at random instants, again and again.

    python tools/soak/ranks.py [KILLS] [SEED]      20 by default; exits 1 on a finding

The GPU of a simulated machine has a burst with next to nothing around it, so that all of its
energy can be asked for, whatever the run's edges. Printed per kill: ranks, instant of the kill,
time to the successor's first reading, error of the energy.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim import waveform
from sim.gpu import Gpu
from sim.machine import Machine, Running

import pyprof
from pyprof.joining import load_folder, node_files

BURST_S, LENGTH_S, END_S = 4.0, 3.0, 9.0
BURST_W = 500.0
RANKS = """
import json, os, sys, time
import pyprof, pyprof.profiler, pyprof.hardware, pyprof.session, pyprof.lead
print("ready", flush=True)
told = json.loads(sys.stdin.readline())
os.environ.update(told["env"])
os.chdir(told["folder"])
pids = []
for _ in range(told["count"]):
    pid = os.fork()
    if pid == 0:
        with pyprof.Profiler(out="run.pyprof.d", sources=("nvml",), model=False) as prof:
            while time.monotonic() < told["end_s"]:
                with prof.stage("step"):
                    time.sleep(0.02)
        sys.exit(0)
    pids.append(pid)
for pid in pids:
    os.waitpid(pid, 0)
"""


def leaders(folder: Path) -> set[int]:
    """Process ids of those that sample or have sampled."""
    return {int(file.name.split("-")[1]) for file in node_files(folder)}


def one(count: int, kill_s: float, folder: Path) -> tuple[float, float]:
    """Seconds to the successor (NaN: none was needed) and the error as a fraction."""
    launcher = subprocess.Popen(
        (sys.executable, "-c", RANKS), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    launcher.stdout.readline()
    load = waveform.steps([(0.01, BURST_S), (BURST_W, LENGTH_S), (0.01, 300.0)])
    with Machine(gpus=(Gpu(load),)).running(folder) as machine:
        end_s = machine.epoch_ns / 1e9 + END_S
        told = {"env": machine.env, "folder": str(folder), "count": count, "end_s": end_s}
        launcher.stdin.write(json.dumps(told) + "\n")
        launcher.stdin.flush()
        killed_ns, first = kill_leader(machine, folder / "run.pyprof.d", kill_s)
        launcher.wait()
        launcher.stdin.close()
        launcher.stdout.close()
        return judge(machine, folder / "run.pyprof.d", first, killed_ns)


def kill_leader(machine: Running, folder: Path, kill_s: float) -> tuple[int, int]:
    """When it was killed, and which process it was."""
    time.sleep(max(machine.epoch_ns / 1e9 + kill_s - time.monotonic(), 0))
    while not node_files(folder):
        time.sleep(0.01)
    (first,) = leaders(folder)
    os.kill(first, signal.SIGKILL)
    return time.monotonic_ns(), first


def judge(machine: Running, folder: Path, first: int, killed_ns: int) -> tuple[float, float]:
    """The whole recording, and when a successor began."""
    recording = load_folder(folder)
    report: pyprof.EnergyReport = recording.report()
    truth_j = machine.truth_j("gpu0", report.run.start_mono_ns, report.run.end_mono_ns)
    begun = [
        process.start_ns
        for process in recording.processes
        if process.role == "sampler" and process.pid != first and process.start_ns is not None
    ]
    after_s = (min(begun) - killed_ns) / 1e9 if begun else float("nan")
    return after_s, (report.energy_j or 0.0) / truth_j - 1 if truth_j else float("nan")


def main() -> int:
    """Kills as often as told, with 2 and 4 ranks in turn."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    bad = 0
    for number in range(kills):
        count, kill_s = (2, 4)[number % 2], chance.uniform(BURST_S - 1, BURST_S + LENGTH_S + 1)
        with tempfile.TemporaryDirectory() as folder:
            after_s, error = one(count, kill_s, Path(folder))
        fine = after_s <= 2.0 and abs(error) <= 1e-3
        bad += not fine
        print(
            f"{count} ranks  kill {kill_s:5.2f} s  {after_s:5.2f} s  {100 * error:+.4f} %  {fine}"
        )
    print(f"{kills - bad} of {kills} fine")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
