"""Weeks of a node recorded in simulated time, and reported.

    cd tools; python -m soak.weeks --days 18.5

Prints what recording and reporting cost and what the total is worth; status 1 if a bound is missed.
Simulated: counters of a known power, and a commit each 30 s instead of each 0.5 s.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from soak.simulated import START_NS, S, node, record, stages

_REPORT = """
import resource, sys, time
began = time.perf_counter(), time.process_time()
import pyprof
report = pyprof.load(sys.argv[1]).report()
wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(wall, cpu, peak, repr(report.energy_j), len(report.events), report.run.complete)
"""


def main() -> int:
    """Record, report, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=18.5)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--sockets", type=int, default=2)
    parser.add_argument("--stages", type=int, default=20)
    parser.add_argument("--commit", type=float, default=30.0, help="simulated seconds")
    parser.add_argument("--fine", action="store_true", help="the readings of the fine pace")
    parser.add_argument("--keep-raw", type=float, help="seconds of readings that are kept")
    parser.add_argument("--out", help="keep the recording here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(chosen.out or f"{folder}/weeks.pyprof")
        return _run(chosen, out)


def _run(chosen: argparse.Namespace, out: Path) -> int:
    duration_s = chosen.days * 86400
    sensors = node(chosen.gpus, chosen.sockets, fine=chosen.fine)
    length_ns = int(duration_s * S) // max(chosen.stages, 1)
    marks = list(stages(chosen.stages, START_NS, length_ns))
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    record(
        out,
        sensors,
        duration_s,
        commit_s=chosen.commit,
        keep_raw_s=chosen.keep_raw,
        marks=marks,
    )
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    changes = sum(sensor.seq for sensor in sensors)
    each = out.stat().st_size / changes
    print(f"recorded   {changes} changes in {wall_s:.1f} s (CPU {cpu_s:.1f} s, with simulation)")
    print(f"memory     {peak_mib:.1f} MiB at most, numpy's among them")
    print(f"size       {out.stat().st_size / 1e6:.1f} MB, {each:.3f} bytes a change")
    told = subprocess.run(
        [sys.executable, "-c", _REPORT, str(out)], capture_output=True, text=True, check=True
    ).stdout.split()
    report_s, report_cpu_s, report_mib, energy_j = map(float, told[:4])
    truth_j = sum(sensor.total_j for sensor in sensors)
    wrong = energy_j / truth_j - 1
    print(f"report     {report_s:.2f} s (CPU {report_cpu_s:.2f} s), {report_mib:.1f} MiB")
    print(f"energy     {energy_j:.1f} J, {wrong:+.2e} of the counters; {told[4]} events")
    missed = [
        abs(wrong) > 1e-6,
        chosen.keep_raw is None and each > (7.0 if chosen.fine else 5.5),
        peak_mib > 64,
        report_cpu_s > 1.0,
        told[5] != "True",
    ]
    return int(any(missed))


if __name__ == "__main__":
    sys.exit(main())
