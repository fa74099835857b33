"""Forks of a process that samples, writes and marks: none may hang, and nothing may count twice.

python tools/soak/forks.py [FORKS]       1000 by default; prints a table, exits 1 on a finding
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import pyprof

POWER_W = 100.0
PATIENCE_S = 10.0
SIGNALS = f"""
[[channel]]
id = "package-0"
kind = "constant"
watts = {POWER_W}
sensor = {{ period_s = 0.001, quantum_j = 1e-4 }}
"""


def ended(pid: int) -> int | None:
    """The wait status; None for a child that hangs, which is then killed."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def fork_often(count: int, folder: Path) -> dict[str, int]:
    """A sampler at 1 kHz, a writer that commits all the time, a thread that marks, and forks."""
    (folder / "signals.toml").write_text(SIGNALS)
    out = folder / "run.pyprof"
    found = {"forks": count, "hung": 0, "failed": 0, "slowest_ms": 0}
    stop = threading.Event()
    with pyprof.Profiler(out=out, simulate=str(folder / "signals.toml"), interval=0.001) as prof:

        def commit() -> None:
            while not stop.is_set():
                with prof.stage("beside"):
                    prof._session.flush()  # type: ignore[union-attr]

        thread = threading.Thread(target=commit)
        thread.start()
        for number in range(count):
            start_s = time.monotonic()
            with prof.stage("parent"):
                pid = os.fork()
                if pid == 0:
                    with pyprof.stage("child"):
                        pass
                    if number % 3 == 0:
                        os._exit(0)
                    sys.exit(0)  # a normal end: every finaliser runs
            found["slowest_ms"] = max(
                found["slowest_ms"], round(1000 * (time.monotonic() - start_s))
            )
            status = ended(pid)
            found["hung"] += status is None
            found["failed"] += status not in (None, 0)
        stop.set()
        thread.join()
    recording = pyprof.load(out)
    report = recording.report()
    found["defects"] = len(recording.defects)
    found["parents"] = report.stages["parent"].count
    found["children"] = sum(row.path == "child" for row in report.stage_rows)
    expected_j = POWER_W * report.run.duration_s
    found["energy_ppm"] = round(1e6 * abs((report.energy_j or 0.0) / expected_j - 1))
    return found


def main() -> int:
    """Runs and judges."""
    warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads are the point
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    folder = tempfile.mkdtemp()  # no context manager: children leave by it as well
    found = fork_often(count, Path(folder))
    shutil.rmtree(folder)
    for name, value in found.items():
        print(f"{name:<12}{value:>8}")
    bad = found["hung"] or found["failed"] or found["defects"] or found["children"]
    return int(bool(bad) or found["parents"] != count or found["energy_ppm"] > 1000)


if __name__ == "__main__":
    sys.exit(main())
