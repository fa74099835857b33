"""Errors of stages and totals against the truth of simulated hardware, in real time.

    python tools/bench/accuracy.py [--seconds 20] [--json FILE]

Stages run in several threads, with lengths out of step with the sensors; half of them begin and end
at random, half where the power changes, as when code drives the power. The table gives the median,
the 95th percentile and the worst error, and how often the truth lies inside the 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.gpu import Gpu
from sim.machine import Machine, Running
from sim.sensor import Sensor
from sim.waveform import Signal, constant, ramp, square, steps, training
from sim.zone import INTEL_UNIT_J, Zone

import pyprof
from pyprof.energy import EnergyReport


@dataclass(frozen=True, slots=True)
class Outcome:
    """One stage or total, with the truth beside it."""

    length_s: float
    energy_j: float
    low_j: float
    high_j: float
    truth_j: float

    @property
    def error(self) -> float:
        return self.energy_j / self.truth_j - 1

    @property
    def inside(self) -> bool:
        return self.low_j <= self.truth_j <= self.high_j


@dataclass(frozen=True, slots=True)
class Trial:
    report: EnergyReport
    total: Outcome
    stages: tuple[Outcome, ...]


def pause_until(mono_ns: float) -> None:
    time.sleep(max(0.0, (mono_ns - time.monotonic_ns()) * 1e-9))


def next_change(running: Running, channel: str, after_ns: int) -> int | None:
    """When the channel's power next jumps, if it ever does."""
    step_ns = 1_000_000
    power = running.truth_w(channel, after_ns)
    for k in range(1, 3000):
        if abs(running.truth_w(channel, after_ns + k * step_ns) - power) > 20:
            return after_ns + k * step_ns
        power = running.truth_w(channel, after_ns + k * step_ns)
    return None


def work(
    running: Running,
    name: str,
    until_ns: int,
    lengths: Sequence[float],
    seed: int,
    coincident: bool,
    log: list[tuple[str, int, int]],
) -> None:
    """One thread: stage after stage, each under a name of its own."""
    chance = random.Random(seed)
    channel = next(iter(running.machine.signals()))
    number = 0
    while True:
        begin = time.monotonic_ns() + int(chance.uniform(0.01, 0.2) * 1e9)
        end = begin + int(chance.choice(lengths) * chance.uniform(0.95, 1.05) * 1e9)
        if coincident:
            begin = next_change(running, channel, begin) or begin
            end = next_change(running, channel, end) or end
            late = max(time.monotonic_ns() - begin, 0)  # looking for the change takes its time
            begin, end = begin + late, end + late
        if end > until_ns:
            return
        pause_until(begin)
        path = f"{name}-{number}"
        before = time.monotonic_ns()
        with pyprof.stage(path):
            pause_until(end)
        log.append((path, before, time.monotonic_ns()))
        number += 1


def truth_between(running: Running, report: EnergyReport, from_ns: int, to_ns: int) -> float:
    counted = [c.id for c in report.channel_rows if c.counted and c.energy_j is not None]
    return sum(running.truth_j(channel, from_ns, to_ns) for channel in counted)


def run_trial(
    machine: Machine,
    *,
    seconds: float,
    lengths: Sequence[float],
    threads: int = 6,
    seed: int = 1,
    interval: float | None = None,
    pace: str = "default",
) -> Trial:
    """Profiles sleeping threads on ``machine``; measured channels only."""
    log: list[tuple[str, int, int]] = []
    with tempfile.TemporaryDirectory() as folder, machine.running(Path(folder)) as running:
        os.environ["SIM_NVML_SPEC"] = running.env["SIM_NVML_SPEC"]
        time.sleep(random.Random(seed).uniform(0.0, 0.3))
        profiler = pyprof.Profiler(
            sysfs=running.sysfs, nvml=running.nvml, model=False, interval=interval, pace=pace
        )
        with profiler:
            until = time.monotonic_ns() + int(seconds * 1e9)
            workers = [
                threading.Thread(
                    target=work,
                    args=(running, f"t{i}", until, lengths, seed * 100 + i, i % 2 == 1, log),
                )
                for i in range(threads)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            pause_until(until)
        report = profiler.report()
        stages = []
        for path, begin, end in log:
            row = report.stages[path]
            assert row.energy_j is not None
            assert row.low_j is not None
            assert row.high_j is not None
            truth = truth_between(running, report, begin, end)
            stages.append(Outcome(row.wall_s, row.energy_j, row.low_j, row.high_j, truth))
        run = report.run
        truth = truth_between(running, report, run.start_mono_ns, run.end_mono_ns)
        assert report.energy_j is not None
        assert report.low_j is not None
        assert report.high_j is not None
        total = Outcome(run.duration_s, report.energy_j, report.low_j, report.high_j, truth)
    return Trial(report, total, tuple(stages))


def two_sockets(signal: Signal, wrap_s: float = 2.7) -> Machine:
    """Packages and memory whose counters wrap every few seconds at 250 W."""
    counts = round(250.0 * wrap_s / INTEL_UNIT_J)
    sensor = Sensor(period_s=0.000976, quantum_j=INTEL_UNIT_J, range_counts=counts)
    dram = Zone("dram", constant(25.0), sensor)
    return Machine(zones=[Zone(f"package-{i}", signal, sensor, (dram,)) for i in range(2)])


def gpus(signal: Signal, count: int = 8, period_s: float = 0.1) -> Machine:
    """GPUs whose counters update every ``period_s``, each at a phase of its own."""
    return Machine(
        gpus=[
            Gpu(
                signal,
                counter=Sensor(
                    period_s=period_s,
                    phase_s=0.011 * i,
                    jitter=0.03,
                    quantum_j=1e-3,
                    start_count=10**9 + i,
                ),
            )
            for i in range(count)
        ]
    )


def random_bursts(seed: int, length_s: float = 60.0) -> Signal:
    """600 W of 50 ms at the mean in 80 W, out of step with every sensor."""
    chance = random.Random(seed)
    levels: list[tuple[float, float]] = []
    while sum(seconds for _, seconds in levels) < length_s:
        levels += [(80.0, chance.uniform(0.05, 0.4)), (600.0, chance.uniform(0.02, 0.08))]
    return steps(levels)


def random_training(seed: int, length_s: float = 60.0) -> Signal:
    """Steps of 250, 420 and 650 W whose lengths vary by a tenth."""
    chance = random.Random(seed)
    levels: list[tuple[float, float]] = []
    while sum(seconds for _, seconds in levels) < length_s:
        levels += [
            (watts, seconds * chance.uniform(0.9, 1.1))
            for watts, seconds in ((250.0, 0.1), (420.0, 0.12), (650.0, 0.18))
        ]
    return steps(levels)


def machines() -> dict[str, Machine]:
    train = random_training(5)
    return {
        "2 sockets, constant": two_sockets(constant(180.0)),
        "2 sockets, square 1 Hz": two_sockets(square(60.0, 240.0)),
        "2 sockets, ramp": two_sockets(ramp(40.0, 300.0, 20.0)),
        "8 GPUs 100 ms, training steps": gpus(train),
        "8 GPUs 100 ms, even steps": gpus(training()),
        "8 GPUs 20 ms, training steps": gpus(train, period_s=0.02),
        "8 GPUs 100 ms, square 1 Hz": gpus(square(100.0, 600.0)),
        "1 GPU 100 ms, square 1 Hz": gpus(square(100.0, 600.0), count=1),
        "1 GPU 100 ms, constant": gpus(constant(300.0), count=1),
        "1 GPU 100 ms, bursts": gpus(random_bursts(3), count=1),
    }


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(name: str, trial: Trial) -> dict[str, object]:
    errors = [abs(stage.error) for stage in trial.stages]
    widths = [(stage.high_j - stage.low_j) / 2 / stage.truth_j for stage in trial.stages]
    return {
        "machine": name,
        "stages": len(errors),
        "median_percent": 100 * statistics.median(errors),
        "p95_percent": 100 * percentile(errors, 0.95),
        "worst_percent": 100 * max(errors),
        "bias_percent": 100 * statistics.fmean(stage.error for stage in trial.stages),
        "inside_percent": 100 * statistics.fmean(stage.inside for stage in trial.stages),
        "half_width_percent": 100 * statistics.fmean(widths),
        "total_percent": 100 * abs(trial.total.error),
        "total_inside": trial.total.inside,
        "cpu_percent": trial.report.overhead.cpu_percent,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each run")
    parser.add_argument("--lengths", default="1.0,1.3", help="lengths of stages, seconds")
    parser.add_argument("--pace", default="default", help="default, fine or finest")
    parser.add_argument("--only", default="", help="machines whose name holds this")
    parser.add_argument("--json", help="write the rows to this file as well")
    arguments = parser.parse_args()
    lengths = [float(text) for text in arguments.lengths.split(",")]
    rows = []
    print(f"{'machine':32} stages median   p95 worst  bias inside  half total   cpu %")
    for name, machine in machines().items():
        if arguments.only not in name:
            continue
        row = summary(
            name,
            run_trial(machine, seconds=arguments.seconds, lengths=lengths, pace=arguments.pace),
        )
        rows.append(row)
        print(
            f"{name:32} {row['stages']:6} {row['median_percent']:6.2f} {row['p95_percent']:5.2f} "
            f"{row['worst_percent']:5.2f} {row['bias_percent']:+5.2f} {row['inside_percent']:6.1f} "
            f"{row['half_width_percent']:5.2f} {row['total_percent']:5.3f} "
            f"{row['cpu_percent']:7.3f}",
            flush=True,
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
