"""Sensors held beside each other, and sensors that can't be believed."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from sim import ready, waveform
from sim.fault import Fault, NvmlError, Span
from sim.gpu import Gpu
from sim.machine import Machine
from sim.sensor import Sensor
from sim.zone import Zone

from pyprof.energy import EnergyReport
from pyprof.export.json import load_schema
from pyprof.export.text import render
from pyprof.profiler import Profiler

STEADY = Gpu(waveform.constant(300.0))


def measured(machine: Machine, folder: Path, seconds: float) -> tuple[EnergyReport, float]:
    """The report of a quiet run, and what its counted devices really used."""
    with machine.running(folder) as running:
        prof = Profiler(
            sysfs=running.sysfs,
            nvml=running.nvml,
            sources=["nvml", "rapl-powercap"],
            model=False,
            baseline="none",
        )
        with prof:
            time.sleep(seconds)
        report = prof.report()
        jsonschema.validate(report.to_dict(), load_schema(), cls=jsonschema.Draft202012Validator)
        run = report.run
        truth_j = sum(
            running.truth_j(name, run.start_mono_ns, run.end_mono_ns)
            for name in machine.signals()
            if name in report.channels and report.channels[name].counted
        )
    return report, truth_j


def test_a_counter_that_agrees_with_power_is_said_to_agree(tmp_path: Path) -> None:
    report, _ = measured(Machine(gpus=(STEADY,)), tmp_path, 3.0)
    check = report.channels["gpu0"].check
    assert check is not None
    assert check.verdict == "agree"
    assert check.ratio == pytest.approx(1.0, abs=0.03)
    assert check.against == "power-average integrated"
    assert "counter / power of the same device, agree: gpu0" in render(report)
    assert "gpu0/power" not in report.channels


def test_a_counter_at_a_wrong_rate_disagrees(tmp_path: Path) -> None:
    # Its unit is half of what it says.
    slow = replace(STEADY, module=waveform.constant(150.0), counter_scope=1)
    report, _ = measured(Machine(gpus=(slow,)), tmp_path, 3.0)
    check = report.channels["gpu0"].check
    assert check is not None
    assert (check.verdict, check.ratio) == ("disagree", pytest.approx(0.5, abs=0.03))
    assert any("one of them is wrong" in event.text for event in report.events)


def test_a_counter_that_stands_still_while_power_is_drawn_is_left_out(tmp_path: Path) -> None:
    stuck = replace(STEADY, counter=Sensor(period_s=1000.0, quantum_j=1e-3, start_count=5000))
    report, _ = measured(Machine(gpus=(stuck, STEADY)), tmp_path, 2.5)
    gpu0, power = report.channels["gpu0"], report.channels["gpu0/power"]
    assert (gpu0.energy_j, gpu0.quality, gpu0.counted) == (None, "unmeasured", False)
    assert "stood still" in (gpu0.reason or "")
    assert "300.0 W" in (gpu0.reason or "")
    assert power.counted
    assert power.quality == "derived"
    assert report.energy_j == pytest.approx(2 * 300.0 * report.run.duration_s, rel=0.05)
    assert any("gpu0/power counts instead" in event.text for event in report.events)
    assert not {"gpu0", "gpu0/power"} & set(report.total.unmeasured)


def test_one_without_a_second_sensor_is_missing_and_not_zero(tmp_path: Path) -> None:
    frozen = Zone("package-0", waveform.constant(80.0), frozen=(Span(0.0, 1e6),))
    good = Zone("package-1", waveform.constant(50.0))
    report, _ = measured(Machine(zones=(frozen, good)), tmp_path, 3.4)
    package = report.channels["package-0"]
    assert (package.energy_j, package.quality, package.counted) == (None, "unmeasured", True)
    assert "package-0" in report.total.unmeasured
    assert report.energy_j == pytest.approx(50.0 * report.run.duration_s, rel=0.05)
    assert "not measured: package-0" in render(report)


def test_power_beyond_any_limit_is_left_out(tmp_path: Path) -> None:
    wild = replace(STEADY, signal=waveform.constant(3000.0), limit_w=700.0)
    report, _ = measured(Machine(gpus=(wild, STEADY)), tmp_path, 1.5)
    gpu = report.channels["gpu0"]
    assert (gpu.energy_j, gpu.quality, gpu.counted) == (None, "unmeasured", True)
    assert "beyond the 1050 W" in (gpu.reason or "")
    assert report.energy_j == pytest.approx(300.0 * report.run.duration_s, rel=0.05)


def test_a_lost_gpu_is_no_stuck_one(tmp_path: Path) -> None:
    lost = replace(STEADY, faults=(Fault(Span(0.4, 1e6), NvmlError.GPU_IS_LOST),))
    report, _ = measured(Machine(gpus=(lost,)), tmp_path, 2.0)
    assert report.channels["gpu0"].quality == "measured"
    assert not any("left out" in event.text for event in report.events)


# -- containment: nothing is counted twice ---------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "counted", "left_out"),
    [
        (ready.mirrored_dies(), {"package-0-die-0"}, {"package-0-die-1": "mirrors"}),
        (ready.two_dies(), {"package-0-die-0", "package-0-die-1"}, {}),
        (
            ready.twin_zones(),
            {"package-0", "package-0/dram"},
            {
                "intel-rapl-mmio/package-0": "memory-mapped",
                "psys": "the whole platform",
                "package-0/core": "inside package-0",
            },
        ),
        (ready.grace_module(), {"gpu0"}, {}),
    ],
    ids=["mirrored dies", "two dies", "MMIO twin, psys and core", "Grace module"],
)
def test_every_joule_is_counted_once(
    tmp_path: Path, machine: Machine, counted: set[str], left_out: dict[str, str]
) -> None:
    report, truth_j = measured(machine, tmp_path, 1.5)
    rows = [row for row in report.channel_rows if row.counted]
    assert {row.id for row in rows if row.energy_j is not None} == counted
    for name, why in left_out.items():
        row = report.channels[name]
        assert not row.counted
        assert why in (row.reason or "")
    total_j = sum(row.energy_j or 0.0 for row in rows)
    assert report.energy_j == pytest.approx(total_j)
    if machine.gpus:  # its counter is that of the module
        run = report.run
        power_w = report.energy_j / run.duration_s if report.energy_j else 0.0
        assert 400.0 < power_w < 800.0
    else:
        assert report.energy_j == pytest.approx(truth_j, rel=0.05)


def test_platform_less_packages_and_memory_is_what_has_no_sensor(tmp_path: Path) -> None:
    memory = Zone("dram", waveform.constant(10.0))
    package = Zone("package-0", waveform.constant(60.0), children=(memory,))
    zones = (package, Zone("psys", waveform.constant(100.0)))
    report, _ = measured(Machine(zones=zones), tmp_path, 1.5)
    (remainder,) = report.remainders
    assert (remainder.whole, set(remainder.parts)) == ("psys", {"package-0", "package-0/dram"})
    assert remainder.energy_j == pytest.approx(30.0 * report.run.duration_s, rel=0.1)
