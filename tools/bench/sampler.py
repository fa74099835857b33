"""The sampler against the floor, on simulated hardware: one table for each part, and JSON.

    python tools/bench/sampler.py [--only floor,paces,change,work,peers] [--rounds 25] [--json F]

Four RAPL zones in a tree, eight GPUs behind a library. Ratios are taken pair by pair within a
round, in which each variant runs once in a process of its own; shown are medians.

- floor: reads at a fixed interval beside a bare C loop that does the same ("null": that loop
  against itself). "held": the same while the main thread holds the GIL in C code;
  "beside": the loop while another process computes.
- paces: the named paces after five seconds, with the time in the drivers' calls apart.
- change: reads per update and the error of the time of change (phase.cpp: updates whose moments are
  known), in percent of the period.
- work: how much longer a workload bound by arithmetic, or by memory, takes beside the sampler,
  with the ends of the 95 % interval of the median ("again": beside nothing, as the first).
- peers: other tools on the same machine, each in its environment below ``--peers`` (see peers.py).

Parts can be run apart, and `floor` for some rates only (``--hz 1000``): 25 rounds of one rate take
four minutes (of 10 Hz, seventeen), `work` four, the others two each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import floor
import peers
from sim.machine import Running

import pyprof

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, object]

SAMPLE = """
import json, sys, time
from pyprof import _native
sysfs, nvml, interval_ns, pace, wait, seconds, held = sys.argv[1:]
hardware = _native.Hardware(sysfs=sysfs, nvml=nvml, sources=["rapl-powercap", "nvml"])
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

# All ways take turns in one process, each first in some rounds: what drifts, drifts for all.
WORK = """
import json, sys, time
from pyprof import _native
kind, rounds, beside, sysfs, nvml = sys.argv[1:]
blocks = bytearray(64 << 20), bytearray(64 << 20)
def arithmetic():
    total = 0
    for i in range(4_000_000):
        total += i * i
def memory():
    for _ in range(24):
        blocks[0][:] = blocks[1]
work = {"arithmetic": arithmetic, "memory": memory}[kind]
ways = list(json.loads(beside).items())
times = {name: [] for name, _ in ways}
for turn in range(int(rounds)):
    first = turn % len(ways)
    for name, interval_ns in ways[first:] + ways[:first]:
        if interval_ns is not None:
            hardware = _native.Hardware(sysfs=sysfs, nvml=nvml, sources=["rapl-powercap", "nvml"])
            sampler = _native.Sampler(hardware, interval_ns)
            sampler.start()
        time.sleep(1)
        begin = time.perf_counter()
        work()
        times[name].append(time.perf_counter() - begin)
        if interval_ns is not None:
            sampler.stop(0)
print(json.dumps(times))
"""
BESIDE = {"none": None, "again": None, "default": 0, "1 kHz": 1_000_000}


def sampler(
    running: Running,
    seconds: float,
    *,
    interval_ns: int = 0,
    pace: str = "default",
    wait: float = 0.3,
    held: bool = False,
) -> dict[str, float]:
    command = [sys.executable, "-c", SAMPLE, running.sysfs, running.nvml, str(interval_ns), pace]
    return floor.run([*command, str(wait), str(seconds), "1" if held else "0"], running)


def median(values: Iterable[float]) -> float:
    return statistics.median(list(values))


def beside_floor(running: Running, program: Path, hz: int, seconds: float) -> dict[str, float]:
    """One round: the loop twice, the sampler, and the sampler while the GIL is held."""
    interval_ns = 1_000_000_000 // hz
    length = max(seconds, 10 / hz)
    command = floor.command(program, running, interval_ns, length)
    bare = floor.run(command, running)
    ours = sampler(running, length, interval_ns=interval_ns)
    again = floor.run(command, running)
    held = sampler(running, length, interval_ns=interval_ns, held=True)
    # A main thread that computes takes a processor, GIL or not: so does this one beside the loop.
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burden:
        beside = floor.run(command, running)
        burden.kill()
    floor_cpu = bare["cpu_s"] / bare["wall_s"]
    cpu = ours["cpu_s"] / ours["wall_s"]
    ticks, held_ticks = (each["reads"] / floor.READS for each in (ours, held))
    return {
        "ratio": cpu / floor_cpu,
        "null": again["cpu_s"] / again["wall_s"] / floor_cpu,
        "more_us": 1e6 * (ours["cpu_s"] / ticks - bare["cpu_s"] / bare["ticks"]),
        "floor_us": 1e6 * bare["cpu_s"] / bare["ticks"],
        "cpu_percent": 100 * cpu,
        "wakes_per_tick": ours["wakes"] / ticks,
        "rate_hz": ticks / ours["wall_s"],
        "late_percent": 100 * ours["late"] / max(ours["reads"], 1),
        "held_hz": held_ticks / held["wall_s"],
        "held_late_percent": 100 * held["late"] / max(held["reads"], 1),
        "beside_hz": beside["ticks"] / beside["wall_s"],
        "beside_late_percent": 100 * beside["late"] / max(beside["ticks"], 1),
    }


def against_floor(
    running: Running, program: Path, rates: Sequence[int], rounds: int, seconds: float
) -> list[Row]:
    found: dict[int, list[dict[str, float]]] = {hz: [] for hz in rates}
    for _ in range(rounds):
        for hz, values in found.items():
            values.append(beside_floor(running, program, hz, seconds))
    return [
        {"hz": hz} | {name: median(v[name] for v in values) for name in values[0]}
        for hz, values in found.items()
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


def changes(seconds: float) -> list[Row]:
    """The phase lock in real time; the program is compiled below build/bench."""
    build = ROOT / "build/bench"
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-DPYPROF_NATIVE_TESTS=ON"]
    configure.append(f"-DPython_EXECUTABLE={sys.executable}")
    for command in (configure, ["cmake", "--build", str(build), "--target", "phase", "-j2"]):
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode != 0:
            raise SystemExit(built.stdout + built.stderr)
    rows: list[Row] = []
    for pace in ("default", "fine"):
        command = [str(build / "phase"), str(seconds), pace]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows += [{"pace": pace} | row for row in json.loads(done.stdout.splitlines()[-1])]
    return rows


def work(running: Running, rounds: int) -> list[Row]:
    rows: list[Row] = []
    for kind in ("arithmetic", "memory"):
        words = [kind, str(rounds), json.dumps(BESIDE), running.sysfs, running.nvml]
        done = subprocess.run(
            [sys.executable, "-c", WORK, *words],
            env={**os.environ, **running.env},
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        times: dict[str, list[float]] = json.loads(done.stdout)
        for name in list(BESIDE)[1:]:
            pairs = zip(times[name], times["none"], strict=True)
            slower = sorted(100 * (one / bare - 1) for one, bare in pairs)
            # Ranks between which the median lies with 95 %.
            off = round(0.98 * len(slower) ** 0.5)
            middle = len(slower) // 2
            ends = [slower[max(middle - off, 0)], slower[min(middle + off, len(slower) - 1)]]
            row = {"work": kind, "beside": name, "slower_percent": median(slower)}
            rows.append({**row, "interval_percent": ends})
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


def where() -> dict[str, object]:
    """What the figures hold for."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "pyprof": pyprof.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--hz", default="10,100,1000,5000", help="rates of the part `floor`")
    parser.add_argument("--only", default="floor,paces,change,work,peers")
    parser.add_argument("--peers", type=Path, default=ROOT / "build/peers")
    parser.add_argument("--json", type=Path, help="write the rows to this file as well")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    rounds, seconds = chosen.rounds, chosen.seconds
    rates = [int(hz) for hz in chosen.hz.split(",")]
    found: dict[str, object] = {"where": where()}
    print(", ".join(f"{name} {value}" for name, value in where().items()) + "\n")
    with tempfile.TemporaryDirectory() as name, floor.machine().running(Path(name)) as running:
        program = floor.build(Path(name))
        parts = {
            "floor": lambda: against_floor(running, program, rates, rounds, seconds),
            "paces": lambda: paces(running, max(rounds // 5, 1), 4 * seconds),
            "change": lambda: changes(20 * seconds),
            "work": lambda: work(running, max(rounds * 9 // 25, 9)),
            "peers": lambda: peers.table(running, chosen.peers, (10, 100, 1000), 2 * seconds),
        }
        for part in chosen.only.split(","):
            if part not in parts:
                raise SystemExit(f"there is no part {part!r}: {', '.join(parts)}")
            rows = parts[part]()
            found[part] = rows
            print(part)
            show(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
