"""Several processes of one host in one run: each device is read by one of them, and counts once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sim import waveform
from sim.gpu import Gpu
from sim.machine import Machine, Running

import pyprof
from pyprof.container import is_being_written
from pyprof.joining import load_folder, node_files
from pyprof.runfolder import fold

# A burst with next to nothing around it: what a run uses does not hang on the instants at which it
# begins and ends, so that all of it can be asked for to 0.1 %.
BURST_S, END_S = 3.5, 5.5
LATER_BURST_S, LATER_END_S = 5.0, 7.5  # where processes begin one after the other
WITHIN = 1e-3

# Ranks as a launcher makes them, but forked, so that no time goes by while they import.
RANKS = """
import json, os, sys, time
import pyprof, pyprof.profiler, pyprof.hardware, pyprof.session, pyprof.lead, pyprof.visible
print("ready", flush=True)
told = json.loads(sys.stdin.readline())
os.environ.update(told["env"])
os.chdir(told["folder"])
out, ends_s = "run.pyprof.d", told["ends_s"]

def rank(end_s):
    with pyprof.Profiler(out=out, sources=("nvml",), model=False) as prof:
        while time.monotonic() < end_s:
            with prof.stage("step"):
                time.sleep(0.02)

ranks = {}
for word in ends_s:
    end_s, _, gpu = word.partition(":")
    pid = os.fork()
    if pid == 0:
        if gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        rank(float(end_s))
        sys.exit(0)
    time.sleep(0.3 if word == ends_s[0] else 0)
    ranks[pid] = word
statuses = {pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in ranks}
print(*statuses.values())
"""

STAGES = """
import sys, time
import pyprof
while time.monotonic() < float(sys.argv[2]):
    with pyprof.stage("step"):
        time.sleep(0.02)
"""

LAUNCHER = """
import subprocess, sys
ranks = [subprocess.Popen([sys.executable, "stages.py", *sys.argv[1:]]) for _ in range(2)]
sys.exit(max(rank.wait() for rank in ranks))
"""


@contextmanager
def machine_with(folder: Path, burst_s: float) -> Iterator[Running]:
    load = waveform.steps([(0.01, burst_s), (500.0, 1.0), (0.01, 300.0)])
    with Machine(gpus=(Gpu(load), Gpu(load))).running(folder) as running:
        yield running


@contextmanager
def launchers(count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that have imported everything and wait to be told of a machine."""
    words = (sys.executable, "-c", RANKS)
    made = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    with ExitStack() as stack:
        for each in made:
            stack.enter_context(each)
        for each in made:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        yield made


def go(launcher: subprocess.Popen[str], machine: Running, folder: Path, *ends_s: str) -> None:
    folder.mkdir(exist_ok=True)
    told = {"env": machine.env, "folder": str(folder), "ends_s": ends_s}
    assert launcher.stdin is not None
    launcher.stdin.write(json.dumps(told) + "\n")
    launcher.stdin.flush()


def statuses(launcher: subprocess.Popen[str]) -> list[int]:
    assert launcher.stdout is not None
    return [int(word) for word in launcher.stdout.readline().split()]


def start(machine: Running, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    for name, text in (("stages.py", STAGES), ("launcher.py", LAUNCHER)):
        (folder / name).write_text(text)
    return subprocess.Popen(words, cwd=folder, env={**os.environ, **machine.env})


def at(machine: Running, seconds: float) -> str:
    return str(machine.epoch_ns / 1e9 + seconds)


def until(machine: Running, seconds: float) -> None:
    """Waits for a moment of the machine's signal."""
    time.sleep(max(machine.epoch_ns / 1e9 + seconds - time.monotonic(), 0))


def wait_for(found: Callable[[], object], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


def leaders(folder: Path) -> list[int]:
    """Process ids of those that sample or have sampled."""
    return [int(file.name.split("-")[1]) for file in node_files(folder)]


def check(machine: Running, report: pyprof.EnergyReport, burst_s: float = BURST_S) -> None:
    """Both GPUs once, to the truth of their counters."""
    burst_ns = machine.epoch_ns + round(burst_s * 1e9)
    assert report.run.start_mono_ns < burst_ns, "too slow a machine for this test"
    read = {row.id for row in report.channel_rows if row.counted and row.energy_j is not None}
    assert read == {"gpu0", "gpu1"}
    for name in ("gpu0", "gpu1"):
        truth_j = machine.truth_j(name, report.run.start_mono_ns, report.run.end_mono_ns)
        assert report.channels[name].energy_j == pytest.approx(truth_j, rel=WITHIN)


def test_ranks_that_share_a_folder_count_once(tmp_path: Path) -> None:
    counts = (1, 2, 4)
    with launchers(len(counts)) as made, machine_with(tmp_path, BURST_S) as machine:
        for count, launcher in zip(counts, made, strict=True):
            go(launcher, machine, tmp_path / str(count), *[at(machine, END_S)] * count)
        for count, launcher in zip(counts, made, strict=True):
            assert statuses(launcher) == [0] * count
    for count in counts:
        folder = tmp_path / str(count) / "run.pyprof.d"
        before = load_folder(folder).report()
        check(machine, before)
        assert before.stages["step"].processes == count
        assert before.run.complete
        fold(folder, folder.with_suffix(""))
        assert not folder.exists()
        folded = pyprof.load(folder.with_suffix(""))
        assert folded.report().energy_j == pytest.approx(before.energy_j, rel=1e-6)
        assert folded.defects == ()


def test_a_leader_that_is_killed_has_a_successor(tmp_path: Path) -> None:
    chance = random.Random(7)
    groups = [tmp_path / str(number) / "run.pyprof.d" for number in range(3)]
    killed: dict[Path, tuple[int, int]] = {}
    with launchers(len(groups)) as made, machine_with(tmp_path, BURST_S) as machine:
        for folder, launcher in zip(groups, made, strict=True):
            go(launcher, machine, folder.parent, *[at(machine, END_S)] * 2)
        instants = sorted((chance.uniform(-0.3, 1.1), folder) for folder in groups)
        for instant_s, folder in instants:
            until(machine, BURST_S + instant_s)
            wait_for(lambda folder=folder: node_files(folder))  # type: ignore[misc]
            (first,) = set(leaders(folder))
            os.kill(first, signal.SIGKILL)
            killed[folder] = first, time.monotonic_ns()
        for launcher in made:
            assert sorted(statuses(launcher)) == [-signal.SIGKILL, 0]
    for folder, (first, killed_ns) in killed.items():
        recording = load_folder(folder)
        report = recording.report()
        check(machine, report)
        gaps = {event.channel for event in report.events if event.kind == "gap"}
        assert gaps >= {"gpu0", "gpu1"}
        taken_ns = min(
            process.start_ns or 0
            for process in recording.processes
            if process.role == "sampler" and process.pid != first
        )
        assert taken_ns - killed_ns < 2e9
        assert not report.run.complete
        folded = pyprof.load(fold(folder, folder.with_suffix("")))
        assert folded.report().energy_j == pytest.approx(report.energy_j, rel=1e-6)
        assert folded.report().stages["step"].count == report.stages["step"].count


def test_a_device_changes_hands_in_good_order(tmp_path: Path) -> None:
    """The one that reads stops first, and nothing is lost or counted twice."""
    folder, apart = tmp_path / "shared/run.pyprof.d", tmp_path / "own/run.pyprof.d"
    with launchers(2) as (shared, own), machine_with(tmp_path, BURST_S) as machine:
        early, end = at(machine, BURST_S + 0.4), at(machine, END_S)
        go(shared, machine, folder.parent, early, end)
        go(own, machine, apart.parent, f"{end}:0", f"{end}:1")
        assert statuses(shared) == statuses(own) == [0, 0]
    assert len(set(leaders(folder))) == 2
    recording = load_folder(folder)
    check(machine, recording.report())
    assert recording.complete
    folded = pyprof.load(fold(folder, tmp_path / "run.pyprof"))
    check(machine, folded.report())
    assert folded.defects == ()
    # Ranks that see one GPU each read that one.
    assert len(node_files(apart)) == 2
    check(machine, load_folder(apart).report())


@pytest.fixture
def later(tmp_path: Path) -> Iterator[Running]:
    with machine_with(tmp_path, LATER_BURST_S) as running:
        yield running


def test_processes_of_a_run_go_on_when_it_is_killed(tmp_path: Path, later: Running) -> None:
    options = ("--sources", "nvml", "--no-model", "-o", "run.pyprof")
    command = (sys.executable, "launcher.py", "-", at(later, LATER_END_S))
    run = start(later, tmp_path, sys.executable, "-m", "pyprof", "run", *options, "--", *command)
    folder = tmp_path / "run.pyprof.d"
    wait_for(lambda: len(list(folder.glob("stages-*"))) == 2)
    until(later, LATER_BURST_S + 0.3)
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_for(lambda: len(node_files(folder)) == 2)
    until(later, LATER_END_S)
    wait_for(lambda: not any(is_being_written(file) for file in folder.glob("*.pyprof")))
    report = load_folder(folder).report()
    check(later, report, LATER_BURST_S)
    assert report.stages["step"].processes == 2
    assert report.run.end_mono_ns > later.epoch_ns + (LATER_END_S - 0.5) * 1e9
    assert not report.run.complete


def test_nobody_goes_on_after_a_run_that_ended(tmp_path: Path, later: Running) -> None:
    launcher = (
        "import glob, os, subprocess, sys, time\n"
        "words = [sys.executable, 'stages.py', '-', str(time.monotonic() + 4)]\n"
        "subprocess.Popen(words, start_new_session=True)\n"
        "while not glob.glob(os.environ['PYPROF_RUN'] + '/stages-*'): time.sleep(0.05)\n"
    )
    words = (sys.executable, "-m", "pyprof", "run", "-q", "--sources", "nvml", "--no-model")
    command = ("-o", "run.pyprof", "--", sys.executable, "-c", launcher)
    run = start(later, tmp_path, *words, *command)
    assert run.wait(60) == 0
    time.sleep(1.5)
    assert sorted(file.name for file in tmp_path.glob("run*")) == ["run.pyprof"]


def test_several_runs_share_a_folder(tmp_path: Path, later: Running) -> None:
    """As a batch system starts them: one command each, and one recording of all."""
    options = ("-q", "--sources", "nvml", "--no-model", "-o", "run.pyprof.d")
    command = (sys.executable, "stages.py", "-", at(later, LATER_END_S))
    words = (sys.executable, "-m", "pyprof", "run", *options, "--json")
    runs = [start(later, tmp_path, *words, f"{i}.json", "--", *command) for i in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0]
    folder = tmp_path / "run.pyprof.d"
    report = load_folder(folder).report()
    check(later, report, LATER_BURST_S)
    assert report.stages["step"].processes == 2
    burst_j = later.truth_j("gpu0", later.epoch_ns, report.run.end_mono_ns)
    for number in range(2):
        told = json.loads((tmp_path / f"{number}.json").read_text())
        joules = {row["id"]: row["energy_j"] for row in told["channels"]}
        assert joules["gpu0"] == pytest.approx(burst_j, rel=WITHIN)
