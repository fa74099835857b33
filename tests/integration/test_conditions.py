"""What explains a GPU's power: utilisation, clock, temperature and what held it back."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import jsonschema
import pytest
from command_line import pyprof, report_of
from sim import waveform
from sim.fault import unsupported
from sim.gpu import Gpu
from sim.machine import Machine

from pyprof.energy import EnergyReport
from pyprof.export.json import load_schema
from pyprof.export.text import render
from pyprof.profiler import Profiler

#: Of the simulated library: 60 W at rest, 700 W at the limit, and all between in proportion.
HALF = Gpu(waveform.constant(380.0))
FULL = Gpu(waveform.constant(720.0))
IDLE = Gpu(waveform.constant(60.0))


@pytest.fixture(autouse=True)
def every_gpu_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def _measured(folder: Path, *gpus: Gpu, conditions: bool = True) -> EnergyReport:
    with Machine(gpus=gpus).running(folder) as machine:
        prof = Profiler(
            sources=["nvml"], nvml=machine.nvml, model=False, baseline="none", conditions=conditions
        )
        with prof, prof.stage("all"):
            time.sleep(1.3)
        return prof.report()


def test_conditions_say_what_held_a_gpu_back(tmp_path: Path) -> None:
    report = _measured(tmp_path, FULL, HALF, IDLE)
    jsonschema.validate(report.to_dict(), load_schema(), cls=jsonschema.Draft202012Validator)
    full, half, idle = report.conditions
    assert [row.channel for row in report.conditions] == ["gpu0", "gpu1", "gpu2"]
    assert full.values == pytest.approx((1.0, 1710.0, 75.0, 1.0, 0.0), rel=0.02)
    assert half.values == pytest.approx((0.5, 960.0, 55.0, 0.0, 0.0), rel=0.03)
    assert idle.values == pytest.approx((0.0, 210.0, 35.0, 0.0, 0.0), rel=0.02)
    stage = next(row for row in report.to_dict()["stages"] if row["path"] == "all")
    assert stage["conditions"][0]["power_capped"] == pytest.approx(1.0, rel=0.02)
    assert stage["conditions"][1]["sm_clock_mhz"] == pytest.approx(960.0, rel=0.03)


def test_conditions_are_no_energy(tmp_path: Path) -> None:
    report = _measured(tmp_path, HALF)
    assert [row.id for row in report.channel_rows if row.energy_j is not None] == ["gpu0"]
    assert report.energy_j == pytest.approx(380.0 * report.run.duration_s, rel=0.05)
    text = render(report, colour=False)
    assert "at power limit" in text
    assert "sm-clock" not in text


def test_nothing_is_asked_unless_wanted(tmp_path: Path) -> None:
    report = _measured(tmp_path, FULL, conditions=False)
    assert report.conditions == ()
    assert "conditions" not in render(report, colour=False)


def test_what_a_driver_does_not_tell_is_unknown(tmp_path: Path) -> None:
    untold = unsupported("nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetTemperature")
    report = _measured(tmp_path, Gpu(waveform.constant(380.0), faults=untold))
    (row,) = report.conditions
    assert (row.temperature_c, row.power_capped, row.too_hot) == (None, None, None)
    assert row.busy == pytest.approx(0.5, rel=0.03)
    (line,) = (each for each in render(report, colour=False).splitlines() if "960 MHz" in each)
    assert line.count("unknown") == 3


def test_a_driver_that_tells_nothing_is_said_aloud(tmp_path: Path) -> None:
    calls = ("UtilizationRates", "ClockInfo", "Temperature", "CurrentClocksThrottleReasons")
    untold = unsupported(*(f"nvmlDeviceGet{call}" for call in calls))
    report = _measured(tmp_path, Gpu(waveform.constant(380.0), faults=untold))
    assert report.conditions == ()
    assert "the conditions of gpu0 can't be read" in str(report.to_dict())
    assert report.energy_j == pytest.approx(380.0 * report.run.duration_s, rel=0.05)


def test_a_run_keeps_them_in_its_recording(tmp_path: Path) -> None:
    with Machine(gpus=(FULL,)).running(tmp_path) as machine:
        done = pyprof(
            *("run", "-o", "run.pyprof", "--conditions", "--sources", "nvml", "--no-model"),
            *("-c", "import time; time.sleep(1.2); print('out')"),
            cwd=tmp_path,
            env={"PYPROF_NVML": machine.nvml},
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out\n"
    assert "at power limit" in done.stderr
    report = report_of(tmp_path)
    (row,) = report["conditions"]
    assert row["channel"] == "gpu0"
    assert row["power_capped"] == pytest.approx(1.0, rel=0.02)
    again = pyprof("report", "run.pyprof", cwd=tmp_path)
    assert "1710 MHz" in again.stdout
    assert [each["id"] for each in report["channels"] if each["counted"] and each["uuid"]] == [
        "gpu0"
    ]


def test_a_machine_without_such_a_gpu_says_so(tmp_path: Path) -> None:
    done = pyprof(
        *("run", "-q", "-o", "run.pyprof", "--conditions", "-c", "print('out')"),
        cwd=tmp_path,
        env={"PYPROF_NVML": str(tmp_path / "none.so"), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out\n"
    assert "no conditions are recorded" in json.dumps(report_of(tmp_path))
