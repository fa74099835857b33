"""How sensors are read: paces, choices, and what goes wrong meanwhile, on simulated hardware."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pyprof import host
from pyprof.energy import EnergyReport
from pyprof.errors import UsageError
from pyprof.export.json import report_dict
from pyprof.profiler import Profiler
from pyprof.sampling import Sampling, Scheduling

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from sim import machine as simulated
from sim import waveform
from sim.fault import ENERGY_CALLS, Fault, NvmlError, Span, unsupported
from sim.gpu import Gpu
from sim.machine import Running
from sim.sensor import Sensor
from sim.zone import Zone

GPU = Gpu(waveform.square(80.0, 420.0, period_s=0.7), limit_w=400.0)


@pytest.fixture(autouse=True)
def every_gpu_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def _machine() -> simulated.Machine:
    zones = [Zone("package-0", waveform.constant(150.0))]
    gpus = [replace(GPU, counter=Sensor(0.1, phase_s=0.03 * i, quantum_j=1e-3)) for i in range(2)]
    return simulated.Machine(zones=zones, gpus=gpus)


def _measured(machine: Running, seconds: float, **choices: object) -> EnergyReport:
    with Profiler(nvml=machine.nvml, sysfs=machine.sysfs, model=False, **choices) as prof:  # type: ignore[arg-type]
        time.sleep(seconds)
    return prof.report()


def _truth_j(machine: Running, report: EnergyReport, channel: str) -> float:
    return machine.truth_j(channel, report.run.start_mono_ns, report.run.end_mono_ns)


# -- paces -----------------------------------------------------------------------------------------


def test_paces_read_more_and_more_and_agree(tmp_path: Path) -> None:
    wakes = []
    with _machine().running(tmp_path) as machine:
        for pace in ("default", "fine", "finest"):
            report = _measured(machine, 2.5, pace=pace)
            cost = report.overhead
            assert cost.sources is not None
            rows = {row.name: row for row in cost.sources}
            assert cost.wakes is not None
            wakes.append(cost.wakes)
            for channel in ("gpu0", "gpu1", "package-0"):
                truth_j = _truth_j(machine, report, channel)
                assert report.channels[channel].energy_j == pytest.approx(truth_j, rel=0.03)
            assert report.channels["gpu0"].update_period_s == pytest.approx(0.1, rel=0.03)
            assert 0 < rows["nvml"].p50_s <= rows["nvml"].p99_s
            assert rows["nvml"].total_s < 1
    # 2.5 s of reads every 100, 10 and 1 ms.
    assert wakes[1] - wakes[0] > 100
    assert wakes[2] - wakes[1] > 500


def test_the_json_tells_spread_and_latencies(tmp_path: Path) -> None:
    with _machine().running(tmp_path) as machine:
        document = json.loads(json.dumps(report_dict(_measured(machine, 2.0, pace="fine"))))
    gpu = next(row for row in document["channels"] if row["id"] == "gpu0")
    assert 0 <= gpu["update_spread_s"] < 0.05
    sources = {row["name"]: row for row in document["overhead"]["sources"]}
    assert set(sources["nvml"]) == {"name", "reads", "failed_reads", "p50_s", "p99_s", "total_s"}
    assert document["overhead"]["slowed"] == 1


@pytest.mark.parametrize(
    ("kind", "choices", "words"),
    [
        (Sampling, {"pace": "fast"}, "default, fine, finest"),
        (Sampling, {"interval_s": 1e-5}, "between"),
        (Sampling, {"budget_percent": -1.0}, "budget"),
        (Scheduling, {"nice": 20}, "nice"),
        (Scheduling, {"realtime": 0}, "realtime"),
        (Scheduling, {"cpus": ()}, "cpus"),
    ],
)
def test_wrong_choices_are_refused(
    kind: Callable[..., object], choices: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        kind(**choices)


def test_an_interval_has_no_budget_unless_one_is_given() -> None:
    assert Sampling().budget == pytest.approx(0.01)
    assert Sampling(interval_s=0.001).budget == 0
    assert Sampling(interval_s=0.001, budget_percent=2).budget == pytest.approx(0.02)
    assert Sampling(budget_percent=0).budget == 0


def test_the_command_line_takes_all_choices(tmp_path: Path) -> None:
    with _machine().running(tmp_path) as machine:
        options = "-q --json - -o run.pyprof --no-model --pace fine --budget 5 --nice 3 --cpus 0"
        where = ["--sysfs", machine.sysfs, "--nvml", machine.nvml]
        command = [sys.executable, "-m", "pyprof", "run", *options.split(), *where]
        done = subprocess.run(
            [*command, "--", "sleep", "1"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    report = json.loads(done.stdout)
    assert report["channels"][0]["energy_j"] > 0
    assert not [event for event in report["events"] if "could not be set" in event["text"]]


def test_threads_run_where_and_how_they_are_told(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    with _machine().running(tmp_path) as machine:
        where = Scheduling(nice=7, cpus=(cpu,))
        with Profiler(
            nvml=machine.nvml, sysfs=machine.sysfs, model=False, scheduling=where
        ) as prof:
            threads = {
                (task / "comm").read_text().strip(): int(task.name)
                for task in Path("/proc/self/task").iterdir()
            }
            for name in ("pyprof-files", "pyprof-vendor"):
                assert os.getpriority(os.PRIO_PROCESS, threads[name]) == 7
                assert os.sched_getaffinity(threads[name]) == {cpu}
            assert os.getpriority(os.PRIO_PROCESS, 0) != 7
        assert not [event for event in prof.report().events if "could not be set" in event.text]


# -- faults ----------------------------------------------------------------------------------------


def test_a_call_that_hangs_for_long_delays_no_other(tmp_path: Path) -> None:
    hanging = replace(GPU, hangs=(Span(2.5, 32.5),))
    with simulated.Machine(
        zones=[Zone("package-0", waveform.constant(150.0))], gpus=(hanging, GPU, GPU)
    ).running(tmp_path) as machine:
        prof = Profiler(nvml=machine.nvml, sysfs=machine.sysfs, model=False)
        prof.start()
        time.sleep(4.0)
        begin = time.monotonic()
        prof.stop()
        assert time.monotonic() - begin < 3.0
        report = prof.report()
        truth_j = {name: _truth_j(machine, report, name) for name in ("gpu1", "gpu2", "package-0")}
    assert any(event.kind == "late" and event.channel == "gpu0" for event in report.events)
    for name, true_j in truth_j.items():
        row = report.channels[name]
        assert row.coverage == pytest.approx(1.0)
        assert row.energy_j == pytest.approx(true_j, rel=0.02)
        assert not [e for e in report.events if e.channel == name and e.kind == "gap"]


def test_a_timeout_is_an_event_and_the_counter_bridges_it(tmp_path: Path) -> None:
    failing = replace(GPU, faults=(Fault(Span(2.0, 2.9), NvmlError.TIMEOUT),))
    with simulated.Machine(gpus=(failing, GPU)).running(tmp_path) as machine:
        report = _measured(machine, 4.0)
        truth_j = _truth_j(machine, report, "gpu0")
    assert report.channels["gpu0"].energy_j == pytest.approx(truth_j, rel=0.03)
    events = [event for event in report.events if event.channel == "gpu0"]
    assert any(event.kind == "failed" and event.count > 1 for event in events)
    assert not [event for event in report.events if event.channel == "gpu1"]
    assert report.overhead.failed_reads


def test_one_entry_of_a_query_that_is_refused_is_told(tmp_path: Path) -> None:
    fault = Fault(Span(2.0, 2.9), NvmlError.NO_PERMISSION, "field:186")
    gpu = replace(GPU, faults=(*unsupported(*ENERGY_CALLS, "nvmlDeviceGetSamples"), fault))
    with simulated.Machine(gpus=(gpu,)).running(tmp_path) as machine:
        report = _measured(machine, 4.0)
    row = report.channels["gpu0"]
    assert row.method == "power-instant"
    assert row.energy_j is not None
    assert any(event.kind == "denied" and event.count > 1 for event in report.events)


def test_a_zone_that_vanishes_and_returns_is_a_gap(tmp_path: Path) -> None:
    zones = [
        Zone("package-0", waveform.constant(150.0), gone=(Span(2.0, 2.8),)),
        Zone("package-1", waveform.constant(100.0)),
    ]
    with simulated.Machine(zones=zones).running(tmp_path) as machine:
        report = _measured(machine, 4.0)
        truth_j = [_truth_j(machine, report, f"package-{i}") for i in range(2)]
    for index, true_j in enumerate(truth_j):
        assert report.channels[f"package-{index}"].energy_j == pytest.approx(true_j, rel=0.03)
    kinds = {event.kind for event in report.events if event.channel == "package-0"}
    assert kinds >= {"lost", "back"}
    assert not [event for event in report.events if event.channel == "package-1"]


_CHILD = """
import sys, time
from pyprof.profiler import Profiler
prof = Profiler(nvml=sys.argv[1], sysfs=sys.argv[2], model=False, interval=0.01)
with prof:
    print("ready", flush=True)
    time.sleep(2.5)
report = prof.report()
row = report.channels["gpu0"]
print(row.low_j, row.high_j, report.run.start_mono_ns, report.run.end_mono_ns, report.overhead.late)
"""


def test_a_process_that_was_stopped_catches_up_without_a_burst(tmp_path: Path) -> None:
    with _machine().running(tmp_path) as machine:
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, machine.nvml, machine.sysfs],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **machine.env},
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.5)
            child.send_signal(signal.SIGSTOP)
            time.sleep(1.0)
            child.send_signal(signal.SIGCONT)
            words = child.stdout.read().split()
        assert child.returncode == 0
        truth_j = machine.truth_j("gpu0", int(words[2]), int(words[3]))
    assert 0.99 * float(words[0]) <= truth_j <= 1.01 * float(words[1])
    assert int(words[4]) > 0


def test_a_suspended_machine_is_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asleep_ns = 0
    awake = host.anchor

    def anchor() -> host.Anchor:
        now = awake()
        return replace(now, boot_ns=now.boot_ns + asleep_ns)

    monkeypatch.setattr(host, "anchor", anchor)
    with _machine().running(tmp_path) as machine:
        prof = Profiler(nvml=machine.nvml, sysfs=machine.sysfs, model=False)
        with prof:
            time.sleep(0.3)
            asleep_ns = 90 * 10**9
            time.sleep(0.8)
        events = prof.report().events
    (event,) = [event for event in events if event.kind == "suspend"]
    assert "90.0 s" in event.text
