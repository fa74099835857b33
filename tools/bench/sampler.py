"""CPU time of the native sampler against a bare C loop that does the same reads, interleaved.

    python tools/bench/sampler.py [--rounds 9] [--seconds 3] [--json FILE]

Simulated hardware: four RAPL zones in a tree, eight GPUs behind a library. Every round runs each
variant once, in processes of their own; ratios are taken pair by pair within a round. "held": the
same sampler while the main thread holds the GIL in C code without letting go.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.gpu import Gpu
from sim.machine import Machine, Running
from sim.waveform import constant, square
from sim.zone import Zone

HERE = Path(__file__).resolve().parent

SAMPLE = """
import json, sys, time
from pyprof import _native
sysfs, nvml, interval_ns, seconds, held, sources = sys.argv[1:]
hardware = _native.Hardware(sysfs=sysfs, nvml=nvml, sources=sources.split(","))
sampler = _native.Sampler(hardware, int(interval_ns))
sampler.start()
begin, before = time.monotonic(), sampler.stats()
if held == "1":
    import re
    # One call that holds the GIL throughout: backtracking, scaled to the time wanted.
    steps = 18
    while time.monotonic() - begin < float(seconds):
        re.match("(a*)*b", "a" * steps)
else:
    time.sleep(float(seconds))
after, wall = sampler.stats(), time.monotonic() - begin
sampler.stop(0)
print(json.dumps({k: after[k] - before[k] for k in before} | {"wall_s": wall}))
"""


def build_floor(folder: Path) -> Path:
    target = folder / "floor"
    subprocess.run(
        ["cc", "-O2", "-o", str(target), str(HERE / "floor.c"), "-ldl"], check=True, text=True
    )
    return target


def zone_files(running: Running) -> list[str]:
    root = Path(running.sysfs) / "class/powercap"
    return sorted(str(path) for path in root.glob("intel-rapl:*/energy_uj"))


def run(command: list[str], running: Running) -> dict[str, float]:
    environment = {**os.environ, **running.env}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, cwd="/"
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def floor(program: Path, running: Running, interval_ns: int, seconds: float, what: str) -> float:
    command = [str(program), str(interval_ns), str(seconds)]
    if what != "rapl":
        command += ["-n", running.nvml]
    if what != "nvml":
        command += zone_files(running)
    result = run(command, running)
    return result["cpu_s"] / result["wall_s"]


def sampler(
    running: Running, interval_ns: int, seconds: float, what: str, held: bool
) -> dict[str, float]:
    sources = {"rapl": "rapl-powercap", "nvml": "nvml", "both": "rapl-powercap,nvml"}[what]
    command = [sys.executable, "-c", SAMPLE, running.sysfs, running.nvml, str(interval_ns)]
    return run([*command, str(seconds), "1" if held else "0", sources], running)


def machine() -> Machine:
    packages = [
        Zone(f"package-{i}", square(60.0, 240.0), children=(Zone("dram", constant(20.0)),))
        for i in range(2)
    ]
    return Machine(zones=packages, gpus=[Gpu(square(100.0, 600.0)) for _ in range(8)])


def measure(
    running: Running, program: Path, rounds: int, seconds: float
) -> list[dict[str, object]]:
    cases = [(ns, what) for ns in (1_000_000, 10_000_000) for what in ("rapl", "nvml", "both")]
    found: dict[tuple[int, str], list[tuple[float, float, float, float]]] = {c: [] for c in cases}
    for _ in range(rounds):
        for interval_ns, what in cases:
            bare = floor(program, running, interval_ns, seconds, what)
            again = floor(program, running, interval_ns, seconds, what)
            ours = sampler(running, interval_ns, seconds, what, held=False)
            held = sampler(running, interval_ns, seconds, what, held=True)
            lanes = 2 if what == "both" else 1
            rate = held["wakes"] / held["wall_s"] / lanes
            cpu = ours["cpu_s"] / ours["wall_s"]
            found[interval_ns, what].append((cpu / bare, again / bare, cpu, rate))
    rows: list[dict[str, object]] = []
    for (interval_ns, what), values in found.items():
        ratio, null, cpu, rate = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append(
            {
                "hz": 1e9 / interval_ns,
                "reads": what,
                "ratio_to_floor": ratio,
                "floor_to_floor": null,
                "cpu_percent": 100 * cpu,
                "held_wakes_hz": rate,
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", help="write the rows to this file as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, machine().running(Path(folder)) as running:
        program = build_floor(Path(folder))
        rows = measure(running, program, arguments.rounds, arguments.seconds)
    print("   Hz reads  ratio to floor  floor to floor  CPU % of a core  wakes/s, GIL held")
    for row in rows:
        print(
            f"{row['hz']:5.0f} {row['reads']:6} {row['ratio_to_floor']:14.2f} "
            f"{row['floor_to_floor']:15.2f} {row['cpu_percent']:16.2f} {row['held_wakes_hz']:18.1f}"
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
