"""SIGKILL at random instants: each recording opens and has lost at most its last second.

cd tools; python -m soak.kill --cases 1000
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyprof

POWER_W = 350.0
_SIGNALS = """
[[channel]]
id = "package-0"
kind = "constant"
watts = 100.0
sensor = { period_s = 0.005, quantum_j = 6.1e-5 }

[[channel]]
id = "gpu0"
kind = "constant"
watts = 250.0
sensor = { period_s = 0.02 }
"""
_WORK = """
import sys, time
import pyprof
prof = pyprof.Profiler(out="run.pyprof", simulate="signals.toml")
prof.start()
print(time.monotonic_ns(), flush=True)
while True:
    with prof.stage("step"):
        time.sleep(0.01) if len(sys.argv) < 2 else prof._session.flush()
"""


def run_case(folder: Path, live_s: float, *, busy: bool) -> tuple[float, float]:
    """Seconds lost, and how wrong the energy up to the cut is."""
    (folder / "signals.toml").write_text(_SIGNALS, encoding="utf-8")
    for left in folder.glob("run.pyprof*"):
        left.unlink()
    words = [sys.executable, "-c", _WORK, *(["busy"] if busy else [])]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PYPROF_")}
    work = subprocess.Popen(words, cwd=folder, env=plain, stdout=subprocess.PIPE)
    assert work.stdout is not None
    work.stdout.readline()
    time.sleep(live_s)
    killed_ns = time.monotonic_ns()
    work.kill()
    work.wait()
    work.stdout.close()
    recording = pyprof.load(folder / "run.pyprof")
    assert recording.defects == (), recording.defects
    assert not recording.complete
    report = recording.report()
    lost_s = (killed_ns - recording.end_ns) / 1e9
    # An account of a part ends between two updates: a little of the last one is not known.
    truth_j = POWER_W * report.run.duration_s
    return lost_s, abs((report.energy_j or 0.0) - truth_j) / max(truth_j, POWER_W)


def main() -> int:
    """Kill, look, sum up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--longest", type=float, default=2.0, help="seconds of life")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    losses, errors = [], []
    with tempfile.TemporaryDirectory() as place:
        for number in range(chosen.cases):
            live_s = chance.uniform(0.0, chosen.longest)
            lost_s, error = run_case(Path(place), live_s, busy=number % 2 == 1)
            losses.append(lost_s)
            errors.append(error)
    losses.sort()
    errors.sort()
    print(f"{len(losses)} killed, {len(losses)} open")
    print(f"lost     median {losses[len(losses) // 2]:.3f} s, most {losses[-1]:.3f} s")
    print(f"energy   median {errors[len(errors) // 2]:.2e}, worst {errors[-1]:.2e}")
    return int(losses[-1] > 1.0 or errors[-1] > 1e-3)


if __name__ == "__main__":
    sys.exit(main())
