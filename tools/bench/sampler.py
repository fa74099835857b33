"""CPU time of the native sampler against a bare C loop that does the same reads, interleaved.

    python tools/bench/sampler.py [--rounds 25] [--seconds 2] [--only blind,paces,work] [--json F]

Simulated hardware: four RAPL zones in a tree, eight GPUs behind a library. Every round runs each
variant once, in processes of their own; ratios are taken pair by pair within a round.

- blind: reads at a fixed interval. "held": the same while the main thread holds the GIL in C code.
- paces: the named paces after five seconds, with the time in the drivers' calls apart.
- work: how much longer a workload bound by arithmetic, or by memory, takes beside the default pace.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.gpu import Gpu
from sim.machine import Machine, Running
from sim.sensor import Sensor
from sim.waveform import constant, square
from sim.zone import Zone

HERE = Path(__file__).resolve().parent
Row = dict[str, object]

SAMPLE = """
import json, sys, time
from pyprof import _native
sysfs, nvml, interval_ns, pace, wait, seconds, held, sources = sys.argv[1:]
hardware = _native.Hardware(sysfs=sysfs, nvml=nvml, sources=sources.split(","))
sampler = _native.Sampler(hardware, int(interval_ns), pace=pace)
sampler.start()
time.sleep(float(wait))
begin, before = time.monotonic(), sampler.stats()
if held == "1":
    import re
    # One call that holds the GIL throughout: backtracking, scaled to the time wanted.
    while time.monotonic() - begin < float(seconds):
        re.match("(a*)*b", "a" * 18)
else:
    time.sleep(float(seconds))
after, wall = sampler.stats(), time.monotonic() - begin
sampler.stop(0)
names = ("cpu_s", "wakes", "reads", "late", "unseen")
print(json.dumps({
    **{name: after[name] - before[name] for name in names},
    "calls_s": sum(row["total_s"] - before["sources"][name]["total_s"]
                   for name, row in after["sources"].items() if name == "nvml"),
    "wall_s": wall,
}))
"""

WORK = """
import sys, time
kind, pace, sysfs, nvml = sys.argv[1:]
def arithmetic():
    total = 0
    for i in range(6_000_000):
        total += i * i
def memory():
    block = bytearray(256 << 20)
    for _ in range(12):
        block = block[1:] + b"x"
work = {"arithmetic": arithmetic, "memory": memory}[kind]
sampler = None
if pace != "none":
    from pyprof import _native
    hardware = _native.Hardware(sysfs=sysfs, nvml=nvml, sources=["rapl-powercap", "nvml"])
    sampler = _native.Sampler(hardware, pace=pace)
    sampler.start()
    time.sleep(3)
begin = time.perf_counter()
work()
print(time.perf_counter() - begin)
"""


def build_floor(folder: Path) -> Path:
    """The bare loop, compiled."""
    target = folder / "floor"
    subprocess.run(
        ["cc", "-O2", "-g", "-o", str(target), str(HERE / "floor.c"), "-ldl"], check=True, text=True
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


def floor_command(program: Path, running: Running, interval_ns: int, seconds: float, what: str):
    command = [str(program), str(interval_ns), str(seconds)]
    if what != "rapl":
        command += ["-n", running.nvml]
    if what != "nvml":
        command += zone_files(running)
    return command


def sampler(
    running: Running,
    seconds: float,
    *,
    what: str = "both",
    interval_ns: int = 0,
    pace: str = "default",
    wait: float = 0.3,
    held: bool = False,
) -> dict[str, float]:
    sources = {"rapl": "rapl-powercap", "nvml": "nvml", "both": "rapl-powercap,nvml"}[what]
    command = [sys.executable, "-c", SAMPLE, running.sysfs, running.nvml, str(interval_ns), pace]
    return run([*command, str(wait), str(seconds), "1" if held else "0", sources], running)


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


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def blind(running: Running, program: Path, rounds: int, seconds: float) -> list[Row]:
    cases = [(100, "rapl"), (100, "nvml"), (1000, "rapl"), (1000, "nvml")]
    cases += [(hz, "both") for hz in (10, 100, 1000, 5000)]
    found: dict[tuple[int, str], list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(rounds):
        for hz, what in cases:
            interval_ns = 1_000_000_000 // hz
            length = max(seconds, 10 / hz)
            command = floor_command(program, running, interval_ns, length, what)
            bare, again = run(command, running), run(command, running)
            ours = sampler(running, length, what=what, interval_ns=interval_ns)
            held = sampler(running, length, what=what, interval_ns=interval_ns, held=True)
            floor_cpu = bare["cpu_s"] / bare["wall_s"]
            cpu = ours["cpu_s"] / ours["wall_s"]
            reads = {"rapl": 4, "nvml": 8, "both": 12}[what]
            ticks = ours["reads"] / reads
            found[hz, what].append(
                {
                    "ratio": cpu / floor_cpu,
                    "null": again["cpu_s"] / again["wall_s"] / floor_cpu,
                    "more_us": 1e6 * (ours["cpu_s"] / ticks - bare["cpu_s"] / bare["ticks"]),
                    "floor_us": 1e6 * bare["cpu_s"] / bare["ticks"],
                    "cpu_percent": 100 * cpu,
                    "wakes_per_tick": ours["wakes"] / ticks,
                    "rate_hz": ticks / ours["wall_s"],
                    "held_hz": held["reads"] / reads / held["wall_s"],
                    "late_percent": 100 * ours["late"] / max(ours["reads"], 1),
                    "held_late_percent": 100 * held["late"] / max(held["reads"], 1),
                }
            )
    return [
        {"hz": hz, "reads": what} | {name: median(v[name] for v in values) for name in values[0]}
        for (hz, what), values in found.items()
    ]


def paces(running: Running, rounds: int, seconds: float) -> list[Row]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("default", "fine", "finest")}
    for _ in range(rounds):
        for pace, values in found.items():
            took = sampler(running, seconds, pace=pace, wait=5)
            values.append(
                {
                    "cpu_percent": 100 * took["cpu_s"] / took["wall_s"],
                    "calls_percent": 100 * took["calls_s"] / took["wall_s"],
                    "outside_percent": 100 * (took["cpu_s"] - took["calls_s"]) / took["wall_s"],
                    "wakes_hz": took["wakes"] / took["wall_s"],
                    "reads_hz": took["reads"] / took["wall_s"],
                    "late_hz": took["late"] / took["wall_s"],
                }
            )
    return [
        {"pace": pace} | {name: median(v[name] for v in values) for name in values[0]}
        for pace, values in found.items()
    ]


def work(running: Running, rounds: int) -> list[Row]:
    rows: list[Row] = []
    environment = {**os.environ, **running.env}
    for kind in ("arithmetic", "memory"):
        slower = []
        for _ in range(rounds):
            times = {}
            for pace in ("none", "default"):
                done = subprocess.run(
                    [sys.executable, "-c", WORK, kind, pace, running.sysfs, running.nvml],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                    cwd="/",
                )
                times[pace] = float(done.stdout)
            slower.append(100 * (times["default"] / times["none"] - 1))
        ordered = sorted(slower)
        rows.append(
            {
                "work": kind,
                "slower_percent": median(slower),
                "quartiles_percent": [ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]],
            }
        )
    return rows


def show(rows: Sequence[Row]) -> None:
    """A table of rows that have the same columns."""
    if not rows:
        return
    names = list(rows[0])
    table = [names] + [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(line[k]) for line in table) for k in range(len(names))]
    for line in table:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    print(flush=True)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(_cell(each) for each in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="blind,paces,work")
    parser.add_argument("--json", help="write the rows to this file as well")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder, machine().running(Path(folder)) as running:
        if "blind" in parts:
            program = build_floor(Path(folder))
            found["blind"] = blind(running, program, arguments.rounds, arguments.seconds)
            show(found["blind"])
        if "paces" in parts:
            found["paces"] = paces(running, max(arguments.rounds // 3, 1), 5 * arguments.seconds)
            show(found["paces"])
        if "work" in parts:
            found["work"] = work(running, max(arguments.rounds, 9))
            show(found["work"])
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
