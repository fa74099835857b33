"""Whose energy it was: shares of a process tree, of a cgroup, and of processes on a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command_line import pyprof, report_of
from sim import waveform
from sim.gpu import Gpu
from sim.machine import Machine
from sim.zone import Zone

from pyprof import _native
from pyprof.export.json import load_schema
from pyprof.profiler import Profiler

TICKS = os.sysconf("SC_CLK_TCK")

# -- following processes, on trees of files --------------------------------------------------------


class Proc:
    """A /proc of our own, in seconds of CPU time."""

    def __init__(self, root: Path, cpus: int = 2) -> None:
        self.root = root
        self.cpus = cpus
        self.busy_s = dict.fromkeys(range(cpus), 0.0)
        root.mkdir()
        self.show()

    def show(self) -> None:
        lines = ["cpu  0 0 0 0 0 0 0 0 0 0"]
        for cpu, busy_s in self.busy_s.items():
            lines.append(f"cpu{cpu} {round(busy_s * TICKS)} 0 0 100 0 0 0 0 0 0")
        (self.root / "stat").write_text("\n".join([*lines, "intr 1 2 3", ""]))

    def put(
        self, pid: int, parent: int, own_s: float, reaped_s: float = 0.0, *, cpu: int = 0
    ) -> None:
        """A process as it is from now on."""
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        ticks = (round(own_s * TICKS), 0, round(reaped_s * TICKS), 0)
        fields = ["S", parent, *[0] * 9, *ticks, 20, 0, 1, 0, 1000 + pid, *[0] * 16, cpu]
        (folder / "stat").write_text(f"{pid} (a name) with ) in it) {' '.join(map(str, fields))}\n")

    def end(self, pid: int) -> None:
        (self.root / f"{pid}/stat").unlink()
        (self.root / str(pid)).rmdir()


@contextmanager
def watching(
    proc: Proc,
    *,
    packages: Mapping[str, list[int]],
    root: int = 10,
    with_root: bool = True,
    cgroup: str = "",
) -> Iterator[Callable[[], dict[str, float]]]:
    """Gives what ends the watch: CPU seconds by channel."""
    hardware = _native.Hardware(proc=str(proc.root), sources=[])
    hardware.add_usage(
        root=root, with_root=with_root, cgroup=cgroup, packages=list(packages.items()), gpus=[]
    )
    channels = hardware.channels
    sampler = _native.Sampler(hardware)
    sampler.start()
    start_ns = _native.monotonic_ns()

    def end() -> dict[str, float]:
        sampler.stop()  # its last look is a moment after the last change here
        end_ns = _native.monotonic_ns()
        account = _native.Account(channels, start_ns, end_ns, "training")
        account.add_frames(b"".join(sampler.drain()))
        solved = account.solve()["channels"]
        return {row.id: found["energy_j"] for row, found in zip(channels, solved, strict=True)}

    try:
        yield end
    finally:
        sampler.stop()


def test_a_tree_is_followed_as_it_grows_and_shrinks(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    proc.put(10, 1, 5.0)  # what it used before does not count
    proc.put(11, 10, 1.0)
    proc.put(20, 1, 3.0)  # somebody else
    with watching(proc, packages={"package-0": [0, 1]}) as end:
        time.sleep(0.3)
        proc.end(11)  # used 0.1 s more, and 10 has waited for it
        proc.put(10, 1, 5.2, 1.1)
        proc.put(12, 10, 0.05)  # new, and all its time with it
        proc.put(20, 1, 3.4)
        proc.busy_s = {0: 0.5, 1: 0.3}
        proc.show()
        used_s = end()
    assert used_s["package-0/party"] == pytest.approx(0.2 + 0.1 + 0.05, abs=0.02)
    assert used_s["package-0/all"] == pytest.approx(0.8, rel=0.03)


def test_a_child_that_lived_between_two_looks_is_not_lost(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    proc.put(10, 1, 0.0)
    with watching(proc, packages={"package-0": [0, 1]}) as end:
        time.sleep(0.2)
        proc.put(10, 1, 0.0, 0.25)
        used_s = end()
    assert used_s["package-0/party"] == pytest.approx(0.25, rel=0.05)


def test_a_process_that_another_adopted_and_reaped_takes_nothing_back(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    proc.put(10, 1, 1.0)
    proc.put(11, 10, 4.0)
    with watching(proc, packages={"package-0": [0, 1]}) as end:
        time.sleep(0.2)
        proc.end(11)  # nobody of the tree has waited for it
        proc.put(10, 1, 1.15)
        used_s = end()
    assert used_s["package-0/party"] == pytest.approx(0.15, rel=0.05)


def test_only_what_the_root_starts_counts_if_that_is_asked(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    proc.put(10, 1, 1.0)
    with watching(proc, packages={"package-0": [0, 1]}, with_root=False) as end:
        time.sleep(0.2)
        proc.put(10, 1, 9.0)
        proc.put(11, 10, 0.1)
        used_s = end()
    assert used_s["package-0/party"] == pytest.approx(0.1, rel=0.05)


def test_time_goes_to_the_package_where_it_was_used(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc", cpus=4)
    proc.put(10, 1, 0.0, cpu=0)
    proc.put(11, 10, 0.0, cpu=3)
    with watching(proc, packages={"package-0": [0, 1], "package-1": [2, 3]}) as end:
        time.sleep(0.2)
        proc.put(10, 1, 0.1, cpu=1)
        proc.put(11, 10, 0.3, cpu=2)
        proc.busy_s = {0: 0.0, 1: 0.1, 2: 0.3, 3: 0.0}
        proc.show()
        used_s = end()
    assert used_s["package-0/party"] == pytest.approx(0.1, rel=0.1)
    assert used_s["package-1/party"] == pytest.approx(0.3, rel=0.1)
    assert used_s["package-1/all"] == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize(
    ("file", "values"),
    [("cpu.stat", "usage_usec {us}\nuser_usec 1\n"), ("cpuacct.usage", "{ns}\n")],
)
def test_a_cgroup_tells_its_own_time(tmp_path: Path, file: str, values: str) -> None:
    proc = Proc(tmp_path / "proc")
    proc.put(10, 1, 0.0)
    group = tmp_path / "job"
    group.mkdir()
    (group / "cgroup.procs").write_text("10\n")

    def used(seconds: float) -> None:
        (group / file).write_text(values.format(us=round(seconds * 1e6), ns=round(seconds * 1e9)))

    used(100.0)
    with watching(proc, packages={"package-0": [0, 1]}, cgroup=str(group)) as end:
        time.sleep(0.2)
        used(100.15)
        used_s = end()
    assert used_s["package-0/party"] == pytest.approx(0.15, rel=0.05)


def test_a_root_that_is_not_there_is_unknown_and_not_zero(tmp_path: Path) -> None:
    proc = Proc(tmp_path / "proc")
    with watching(proc, packages={"package-0": [0, 1]}) as end:
        time.sleep(0.1)
        with pytest.raises(TypeError):  # nothing was solved for the channel
            end()


# -- what becomes of it in a report ----------------------------------------------------------------

BURN = """
import time
until = time.monotonic() + 1.2
while time.monotonic() < until:
    sum(range(1000))
print(time.process_time())
"""


def share_of(report: Mapping[str, Any], channel: str) -> dict[str, Any]:
    (row,) = (row for row in report["shares"] if row["channel"] == channel)
    whole = next(each for each in report["channels"] if each["id"] == channel)
    parts = (row["energy_j"], row["others_j"], row["idle_j"])
    assert sum(parts) == pytest.approx(whole["energy_j"])
    assert row["low_j"] <= row["energy_j"] <= row["high_j"]
    found: dict[str, Any] = row
    return found


def test_a_command_gets_its_share_by_cpu_time(tmp_path: Path) -> None:
    zones = (Zone("package-0", waveform.constant(100.0)),)
    with Machine(zones=zones).running(tmp_path) as machine:
        done = pyprof(
            *("run", "-o", "run.pyprof", "-q", "--sources", "rapl-powercap", "--no-model"),
            *("-c", BURN),
            cwd=tmp_path,
            env={"PYPROF_SYSFS": machine.sysfs},
        )
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path)
    jsonschema.validate(report, load_schema(), cls=jsonschema.Draft202012Validator)
    (package,) = (row for row in report["channels"] if row["id"] == "package-0")
    tree = share_of(report, "package-0")
    assert (tree["scope"], tree["quality"]) == ("process tree", "modelled")
    assert "CPU time" in tree["rule"]
    # Without a baseline an idle CPU counts like a busy one: two CPUs, as the tree of CPUs has them.
    used = float(done.stdout) / (2 * report["run"]["duration_s"])
    assert tree["energy_j"] == pytest.approx(package["energy_j"] * used, rel=0.15)
    assert tree["low_j"] == 0.0
    assert report["total"]["energy_j"] == pytest.approx(package["energy_j"])
    assert "this process tree" in pyprof("report", "run.pyprof", cwd=tmp_path).stdout


def test_a_baseline_sets_idle_energy_apart_from_the_shares(tmp_path: Path) -> None:
    rest, busy = (Machine(zones=(Zone("package-0", waveform.constant(w)),)) for w in (30.0, 100.0))
    words = ("--sources", "rapl-powercap", "--no-model")
    for name in ("rest", "busy"):
        (tmp_path / name).mkdir()
    with rest.running(tmp_path / "rest") as machine:
        env = {"PYPROF_SYSFS": machine.sysfs}
        made = pyprof("baseline", "--duration", "1s", "-o", "r.json", *words, cwd=tmp_path, env=env)
        assert made.returncode == 0, made.stderr
    with busy.running(tmp_path / "busy") as machine:
        done = pyprof(
            *("run", "-o", "run.pyprof", "-q", "--baseline", "r.json", *words, "-c", BURN),
            cwd=tmp_path,
            env={"PYPROF_SYSFS": machine.sysfs},
        )
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path)
    share = share_of(report, "package-0")
    length_s = report["run"]["duration_s"]
    assert share["idle_j"] == pytest.approx(30.0 * length_s, rel=0.05)
    assert share["energy_j"] + share["others_j"] == pytest.approx(70.0 * length_s, rel=0.05)
    assert "energy above the power at rest" in share["rule"]


def test_processes_on_a_gpu_share_it_by_its_time(tmp_path: Path) -> None:
    with Machine(gpus=(Gpu(waveform.constant(300.0)),)).running(tmp_path) as machine:
        machine.set_processes(0, [(os.getpid(), 60, 0), (os.getppid(), 20, 0)])
        prof = Profiler(sources=["nvml"], nvml=machine.nvml, model=False, baseline="none")
        with prof, prof.stage("all"):
            time.sleep(1.6)
        report = prof.report().to_dict()
    jsonschema.validate(report, load_schema(), cls=jsonschema.Draft202012Validator)
    gpu = next(row for row in report["channels"] if row["id"] == "gpu0")
    share = share_of(report, "gpu0")
    found = [share[name] / gpu["energy_j"] for name in ("energy_j", "others_j", "idle_j")]
    assert found == [pytest.approx(part, abs=0.02) for part in (0.6, 0.2, 0.2)]
    assert share["scope"] == "process tree"
    assert "SM utilisation" in share["rule"]
    stage = next(row for row in report["stages"] if row["path"] == "all")
    assert stage["shares"]["gpu0"] == pytest.approx(0.6 * stage["channels"]["gpu0"], rel=0.05)


def test_processes_of_another_namespace_are_not_taken_for_nobody(tmp_path: Path) -> None:
    with Machine(gpus=(Gpu(waveform.constant(300.0)),)).running(tmp_path) as machine:
        machine.set_processes(0, [(4_000_001, 80, 0)])
        prof = Profiler(sources=["nvml"], nvml=machine.nvml, model=False, baseline="none")
        with prof:
            time.sleep(1.2)
        report = prof.report()
    assert report.shares == ()
    assert report.channels["gpu0"].energy_j is not None


def test_scope_node_counts_the_gpus_of_others_too(tmp_path: Path) -> None:
    gpus = (Gpu(waveform.constant(300.0)), Gpu(waveform.constant(200.0)))
    counted = {}
    with Machine(gpus=gpus).running(tmp_path) as machine:
        env = {"PYPROF_NVML": machine.nvml, "CUDA_VISIBLE_DEVICES": gpus[0].identity(0)}
        for scope in ("devices", "node"):
            done = pyprof(
                *("run", "-o", f"{scope}.pyprof", "-q", "--sources", "nvml", "--no-model"),
                *("--scope", scope, "-c", "pass"),
                cwd=tmp_path,
                env=env,
            )
            assert done.returncode == 0, done.stderr
            rows = report_of(tmp_path, f"{scope}.pyprof")["channels"]
            counted[scope] = [row["id"] for row in rows if row["counted"] and row["uuid"]]
    assert counted == {"devices": ["gpu0"], "node": ["gpu0", "gpu1"]}


def test_a_cgroup_that_is_none_is_refused(tmp_path: Path) -> None:
    with Machine(zones=(Zone("package-0", waveform.constant(9.0)),)).running(tmp_path) as machine:
        done = pyprof(
            *("run", "-q", "-o", "a.pyprof", "--sources", "rapl-powercap", "--no-model"),
            *("--cgroup", "no/such/group", "-c", "print('ran')"),
            cwd=tmp_path,
            env={"PYPROF_SYSFS": machine.sysfs},
        )
    assert done.returncode == 125
    assert "no/such/group is no cgroup" in done.stderr
    assert "ran" not in done.stdout


def test_all_processes_of_a_real_machine_can_be_followed() -> None:
    code = (
        "import json, sys, time\nfrom pyprof import _native\n"
        "hardware = _native.Hardware(sources=[])\n"
        "hardware.add_usage(root=1, with_root=True, cgroup='', "
        "packages=[('package-0', [0, 1])], gpus=[])\n"
        "sampler = _native.Sampler(hardware)\nsampler.start()\ntime.sleep(2.2)\nsampler.stop()\n"
        "print(json.dumps(sampler.stats()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failed_reads"] == 0
