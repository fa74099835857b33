"""Other tools on the same simulated machine, each in its own environment, and what they cost.

A folder holds one virtual environment for each: ``python tools/bench/peers.py FOLDER`` makes them.
Each tool samples at a rate in a process of its own whose own code only waits; counted is the
processor time of that process and of all that it starts, whatever threads they have.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sim.machine import Running
from sim.overlay import over_sys, why_not_over_sys

# What waits: `begin` starts the tool at `hz`, `end` stops it and gives how often it has read.
WAIT = """
import json, sys, time
hz = float(sys.argv[1])
{program}
begun = time.monotonic()
begin()
print("ready", flush=True)
sys.stdin.readline()
lasted = time.monotonic() - begun
print(json.dumps(dict(samples_hz=end() / lasted)))
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool, by the name and version that its index has, and how it is made to sample."""

    name: str
    version: str
    reads: str
    program: str
    needs: tuple[str, ...] = ("nvidia-ml-py",)


PYPROF = """
import pyprof
def begin():
    global profiler
    profiler = pyprof.Profiler(interval=1 / hz, sources=["rapl-powercap", "nvml"], model=False,
                               baseline="none")
    profiler.start()
def end():
    profiler.stop()
    return profiler.report().overhead.reads / 12
"""

PEERS = (
    Peer(
        "codegreen",
        "0.4.9",
        "GPU power, RAPL",
        """
import codegreen
def begin():
    global session, task
    ms = max(1, round(1000 / hz))
    session = codegreen.Session("bench", save_to_file=False, record_time_series=True,
                                sample_interval_ms=ms, buffer_samples=20000)
    session.start()
    task = session.task("work")
    task.__enter__()
def end():
    task.__exit__(None, None, None)
    session.stop()
    tasks = session.tasks() if callable(session.tasks) else session.tasks
    return len(tasks[0].timeseries or ())
""",
    ),
    Peer(
        "landauer-gap",
        "0.8.0",
        "GPU energy, RAPL",
        """
import joules
polls = 0
def begin():
    global session
    session = joules.Session(interval=1 / hz)
    meter = session.meters[0]
    poll = meter.poll
    def counted(now):
        global polls
        polls += 1
        return poll(now)
    meter.poll = counted
def end():
    session.close()
    return polls
""",
    ),
    Peer(
        "usematcha",
        "0.3.1",
        "GPU power",
        """
from matcha._engine import PowerSampler
def begin():
    global sampler
    sampler = PowerSampler(interval_ms=1000 / hz)
    sampler.start()
def end():
    count = len(sampler._samples)
    sampler.stop()
    return count
""",
    ),
    Peer(
        "codecarbon",
        "3.3.2",
        "GPU energy, RAPL",
        """
from codecarbon import OfflineEmissionsTracker
polls = 0
class Counted(OfflineEmissionsTracker):
    def _do_measurements(self):
        global polls
        polls += 1
        return super()._do_measurements()
def begin():
    global tracker
    tracker = Counted(country_iso_code="FRA", save_to_file=False, log_level="error",
                      measure_power_secs=1 / hz)
    tracker.start()
def end():
    tracker.stop()
    return polls
""",
    ),
    Peer(
        "zeus",
        "0.16.0",
        "GPU power, one kind",
        """
from zeus.monitor.power import PowerMonitor
def begin():
    global monitor
    monitor = PowerMonitor(update_period=1 / hz, power_domains=["device_instant"])
def end():
    # It keeps changes only: how often it has read is not told.
    monitor.stop()
    return float("nan")
""",
    ),
    Peer(
        "jpwr",
        "0.0.10",
        "GPU power",
        """
from jpwr.ctxmgr import get_power
from jpwr.gpu.pynvml import power
def begin():
    global scope
    scope = get_power([power()], 1000 / hz, dict(ignore_measure_errors=False))
    scope.__enter__()
def end():
    scope.__exit__(None, None, None)
    return len(scope.df)
""",
        ("nvidia-ml-py", "pandas"),
    ),
)


def install(folder: Path) -> None:
    for peer in PEERS:
        home = folder / peer.name
        if (home / "bin/python").exists():
            continue
        venv.create(home, with_pip=True)
        wanted = [f"{peer.name}=={peer.version}", *peer.needs]
        command = [str(home / "bin/python"), "-m", "pip", "install", "-q", *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(f"{peer.name}: {'installed' if done.returncode == 0 else done.stderr.strip()}")


def cpu_ns(process: psutil.Process) -> int:
    """Processor time of a process and all below it, dead threads too."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += time.clock_gettime_ns((~each.pid << 3) | 2)  # the clock of that process
        except OSError:
            continue
    return total


def cost(
    python: str, program: str, running: Running, hz: float, seconds: float
) -> dict[str, float] | str:
    """Percent of a core and achieved rate; or why it did not run."""
    words = [*over_sys(running.sysfs), python, "-c", WAIT.format(program=program), str(hz)]
    with subprocess.Popen(
        words,
        env={**os.environ, **running.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as waiting:
        assert waiting.stdin is not None
        assert waiting.stdout is not None
        while (line := waiting.stdout.readline()) and line.strip() != "ready":
            pass
        if not line:
            said = waiting.stderr.read() if waiting.stderr is not None else ""
            return said.strip().splitlines()[-1] if said.strip() else "it ended at once"
        process = psutil.Process(waiting.pid)
        time.sleep(0.5)
        begun, before = time.monotonic(), cpu_ns(process)
        time.sleep(seconds)
        spent = (cpu_ns(process) - before) / 1e9 / (time.monotonic() - begun)
        out, said = waiting.communicate("end\n", timeout=60)
        try:
            told = json.loads(out.strip().splitlines()[-1])
        except (IndexError, ValueError):
            return said.strip().splitlines()[-1] if said.strip() else "it told nothing"
    return {"cpu_percent": 100 * spent, "samples_hz": float(told["samples_hz"])}


def table(running: Running, folder: Path, rates: tuple[int, ...], seconds: float) -> list[dict]:
    """One row per tool and rate, pyprof's own first."""
    if (why := why_not_over_sys(running.sysfs)) is not None:
        print(f"peers: no simulated /sys for them: {why}")
        return []
    rows = []
    own = Peer("pyprof", "", "GPU energy, RAPL", PYPROF)
    for peer in (own, *PEERS):
        python = sys.executable if peer is own else str(folder / peer.name / "bin/python")
        for hz in rates:
            if not Path(python).exists():
                told: dict[str, float] | str = "not installed"
            else:
                told = cost(python, peer.program, running, hz, seconds)
            figures = {"cpu_percent": float("nan"), "samples_hz": float("nan"), "why": ""}
            figures.update({"why": told[:90]} if isinstance(told, str) else told)
            name = f"{peer.name} {peer.version}".strip()
            rows.append({"tool": name, "reads": peer.reads, "hz": hz, **figures})
    return rows


if __name__ == "__main__":
    install(Path(sys.argv[1]))
