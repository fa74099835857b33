"""Reports made by hand, so that what people read can be compared to the last character."""

from __future__ import annotations

import dataclasses
from typing import Any

from pyprof.energy import (
    Channel,
    EnergyReport,
    Event,
    Overhead,
    Run,
    Solved,
    Source,
    Stage,
    Total,
)

A100 = "NVIDIA A100-SXM4-80GB"
EPYC = "AMD EPYC 7543 32-Core Processor"


def make_run(**changes: object) -> Run:
    values: dict[str, object] = {
        "id": "0190f2a4-7c1e-4d2b-9a3f-5b6c7d8e9f00",
        "command": "train.py",
        "host": "node-7",
        "boot_id": "1f0c7a52-8a51-4a0f-8a0f-2d6d6f1a9c11",
        "start_utc": "2026-11-24T03:26:10.125000Z",
        "start_mono_ns": 1_000_000_000,
        "end_mono_ns": 63_400_000_000,
        "duration_s": 62.4,
        "exit_status": 0,
        "signal": None,
        "complete": True,
        "scope": "node",
        "covers": "the whole node: 1 CPU package and memory; 1 of 2 GPUs, those the job may use",
    }
    return Run(**(values | changes))  # type: ignore[arg-type]


def make_channel(channel_id: str, domain: str, **changes: object) -> Channel:
    values: dict[str, object] = {
        "id": channel_id,
        "domain": domain,
        "device": "",
        "uuid": None,
        "parent": None,
        "counted": True,
        "scope": "node",
        "quality": "measured",
        "method": "counter",
        "energy_j": None,
        "low_j": None,
        "high_j": None,
        "tolerance": None,
        "mean_w": None,
        "peak_w": None,
        "coverage": None,
        "update_period_s": None,
        "source": "",
        "reason": None,
    }
    return Channel(**(values | changes))  # type: ignore[arg-type]


def make_stage(path: str, energy_j: float | None, **changes: object) -> Stage:
    values: dict[str, object] = {
        "path": path,
        "phase": "training",
        "count": 1,
        "processes": 1,
        "duration_s": 1.0,
        "wall_s": 1.0,
        "energy_j": energy_j,
        "low_j": None if energy_j is None else energy_j * 0.99,
        "high_j": None if energy_j is None else energy_j * 1.01,
        "self_energy_j": energy_j,
        "resolved": True,
        "unresolved": (),
        "by_quality": {} if energy_j is None else {"measured": energy_j},
        "channels": {},
    }
    return Stage(**(values | changes))  # type: ignore[arg-type]


def server_report() -> EnergyReport:
    """A GPU server: counters read, memory modelled, one GPU unreadable, events of most kinds."""
    channels = (
        make_channel(
            "gpu0",
            "gpu",
            device=A100,
            uuid="GPU-6b1ddf7e-1f5a-4d0e-8c3a-0f1e2d3c4b5a",
            scope="devices",
            energy_j=15_480.0,
            low_j=15_440.0,
            high_j=15_520.0,
            tolerance=0.05,
            mean_w=248.1,
            peak_w=391.4,
            coverage=0.987,
            update_period_s=0.1,
            source="nvml",
        ),
        make_channel(
            "package-0",
            "package",
            device=EPYC,
            energy_j=6_950.0,
            low_j=6_949.0,
            high_j=6_951.0,
            mean_w=111.4,
            peak_w=187.0,
            coverage=1.0,
            update_period_s=0.001,
            source="rapl-powercap",
        ),
        make_channel(
            "package-0/core",
            "core",
            parent="package-0",
            counted=False,
            energy_j=3_120.0,
            low_j=3_119.5,
            high_j=3_120.5,
            mean_w=50.0,
            peak_w=96.0,
            coverage=1.0,
            update_period_s=0.001,
            source="rapl-powercap",
        ),
        make_channel(
            "dram",
            "dram",
            quality="modelled",
            method="model",
            energy_j=1_200.0,
            low_j=600.0,
            high_j=1_800.0,
            mean_w=19.2,
            peak_w=19.2,
            coverage=1.0,
            source="modelled",
            reason="modelled from 256 GB of memory at 0.075 W/GB (0.0375 to 0.1125)",
        ),
        make_channel(
            "gpu1",
            "gpu",
            device=A100,
            quality="unmeasured",
            method="counter",
            scope="devices",
            source="nvml",
            reason="GPU is lost (NVML error 15)",
        ),
    )
    stages = (
        make_stage(
            "",
            23_630.0,
            count=1,
            processes=3,
            duration_s=62.4,
            wall_s=62.4,
            low_j=23_010.0,
            high_j=24_240.0,
            self_energy_j=1_330.0,
            by_quality={"measured": 22_430.0, "modelled": 1_200.0},
        ),
        make_stage(
            "load",
            900.0,
            duration_s=5.2,
            wall_s=5.2,
            low_j=860.0,
            high_j=940.0,
            by_quality={"measured": 800.0, "modelled": 100.0},
        ),
        make_stage(
            "train",
            20_900.0,
            count=4,
            processes=2,
            duration_s=196.0,
            wall_s=49.1,
            low_j=20_400.0,
            high_j=21_400.0,
            self_energy_j=1_900.0,
            by_quality={"measured": 19_956.0, "modelled": 944.0},
        ),
        make_stage(
            "train/forward",
            7_000.0,
            count=400,
            duration_s=18.0,
            wall_s=18.0,
            low_j=6_820.0,
            high_j=7_180.0,
            resolved=False,
            unresolved=("gpu0",),
            by_quality={"measured": 6_654.0, "modelled": 346.0},
        ),
        make_stage(
            "train/backward",
            12_000.0,
            count=400,
            duration_s=29.0,
            wall_s=29.0,
            low_j=11_700.0,
            high_j=12_300.0,
            by_quality={"measured": 11_442.0, "modelled": 558.0},
            solved=(Solved("gpu0", 9_000.0, 8_940.0, 9_060.0, 310.3, 400, 0.0021),),
            bound={"repeats": 60.0, "model": 279.0},
        ),
        make_stage(
            "eval",
            500.0,
            phase="development",
            duration_s=3.1,
            wall_s=3.1,
            low_j=480.0,
            high_j=521.0,
            by_quality={"measured": 440.0, "modelled": 60.0},
            cut=True,
        ),
    )
    return EnergyReport(
        pyprof_version="0.1.0",
        run=make_run(),
        sources=(
            Source("rapl-powercap", True, None, None),
            Source("nvml", True, None, None),
            Source("modelled", True, None, None),
        ),
        channel_rows=channels,
        stage_rows=stages,
        total=Total(
            energy_j=23_630.0,
            low_j=23_010.0,
            high_j=24_240.0,
            by_quality={"measured": 22_430.0, "modelled": 1_200.0},
            by_domain={"gpu": 15_480.0, "package": 6_950.0, "dram": 1_200.0},
            unmeasured=("gpu1",),
            bound={"edges": 30.0, "gaps": 20.0, "model": 600.0},
        ),
        events=(
            Event(0.0, "note", None, 1, "1 of 2 GPUs counted, as CUDA_VISIBLE_DEVICES says"),
            Event(9.1, "note", "gpu0", 1, "the load repeats in step with the readings"),
            Event(9.2, "note", "package-0", 1, "the load repeats in step with the readings"),
            Event(12.4, "wrap", "package-0", 2, ""),
            Event(30.05, "gap", "gpu0", 1, "0.4 s without a reading"),
            Event(30.1, "lost", "gpu1", 1, "GPU is lost"),
        ),
        overhead=Overhead(0.21, 0.34, 6_240, 69_000, 3, 4),
    )


def modelled_report() -> EnergyReport:
    """A virtual machine with nothing readable: one estimate with a wide, uneven range."""
    return EnergyReport(
        pyprof_version="0.1.0",
        run=make_run(
            command="fit",
            exit_status=None,
            signal=15,
            duration_s=4.3,
            covers="the whole virtual machine: its share of one CPU, and memory",
        ),
        sources=(
            Source(
                "rapl-powercap",
                False,
                "no readable zone below /sys/class/powercap (ENOENT): virtual machines have none",
                "run on the host, or ask its owner for the host's recording",
            ),
            Source("nvml", False, "libnvidia-ml.so.1 not found", None),
            Source("modelled", True, None, None),
        ),
        channel_rows=(
            make_channel(
                "package-0",
                "package",
                device="AMD EPYC",
                quality="modelled",
                method="model",
                energy_j=52.0,
                low_j=13.0,
                high_j=57.2,
                mean_w=12.1,
                peak_w=14.0,
                coverage=1.0,
                source="modelled",
                reason="modelled from 'EPYC 7543' 225 W, 2 of 64 threads seen",
            ),
        ),
        stage_rows=(
            make_stage(
                "",
                52.0,
                duration_s=4.3,
                wall_s=4.3,
                low_j=13.0,
                high_j=57.2,
                by_quality={"modelled": 52.0},
            ),
        ),
        total=Total(52.0, 13.0, 57.2, {"modelled": 52.0}, {"package": 52.0}, ()),
        events=(),
        overhead=Overhead(0.004, 0.09, 44, 88, 0, 0),
    )


def unknown_report() -> EnergyReport:
    """Nothing read, nothing modelled, and the recording was cut short."""
    return EnergyReport(
        pyprof_version="0.1.0",
        run=make_run(exit_status=None, complete=False, covers="nothing could be read"),
        sources=(
            Source(
                "rapl-powercap",
                False,
                "/sys/class/powercap/intel-rapl:0/energy_uj: EACCES",
                "let a group read it by a udev rule",
            ),
        ),
        channel_rows=(
            make_channel(
                "package-0",
                "package",
                device=EPYC,
                quality="unmeasured",
                source="rapl-powercap",
                reason="/sys/class/powercap/intel-rapl:0/energy_uj: permission denied (EACCES)",
            ),
        ),
        stage_rows=(make_stage("", None, duration_s=62.4, wall_s=62.4),),
        total=Total(None, None, None, {}, {}, ("package-0",)),
        events=(),
        overhead=Overhead(None, None, None, None, None, None),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class FixedFootprint:
    """A footprint that no new edition of a table and no new account can move."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "zone": "FR",
            "factors": [
                {
                    "g_per_kwh": 56.0,
                    "zone": "FR",
                    "name": "France",
                    "year": 2024,
                    "kind": "lifecycle",
                    "basis": "production",
                    "source": "A yearly table",
                    "licence": "CC-BY-4.0",
                }
            ],
            "pue": 1.2,
            "kg_co2e": 0.000441,
            "low_kg": 0.000412,
            "high_kg": 0.00047,
            "by_stage": {
                "": 2.5e-05,
                "load": 1.7e-05,
                "train": 3.5e-05,
                "train/forward": 0.000131,
                "train/backward": 0.000224,
                "eval": 9e-06,
            },
            "by_phase": {"training": 0.000432, "development": 9e-06},
            "substituted": None,
            "beside": None,
            "notes": ["facility overhead included: PUE 1.2, as given"],
        }


def priced(report: EnergyReport) -> EnergyReport:
    return dataclasses.replace(report, footprint=FixedFootprint())
