"""RAPL by perf_event through a PMU folder whose events are the kernel's own software clock: the
real system call with a known truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sysfs_tree import NO_NVML, PMU, pmu, powercap, topology, write_tree

from pyprof import _native
from pyprof.energy import EnergyReport
from pyprof.hardware import Look, open_machine
from pyprof.profiler import Profiler

CLOCK = 0  # PERF_COUNT_SW_CPU_CLOCK, in ns
DUMMY = 9  # PERF_COUNT_SW_DUMMY, which counts nothing
WATT = 1e-9  # joules per ns

# Opens what the tests need, and prints why if the kernel refuses.
_PROBE = """
import sys
from pyprof import _native
found = _native.Hardware(sysfs=sys.argv[1], sources=["rapl-perf"]).found[0]
print(found.reason if not found.available else "")
"""


@pytest.fixture(scope="module")
def allowed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where this kernel or container refuses perf_event_open for a whole CPU."""
    tree = tmp_path_factory.mktemp("probe")
    write_tree(tree, pmu({"energy-pkg": (CLOCK, WATT)}) | topology({0: (0, 0)}))
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(tree)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tree,
    )
    if done.stdout.strip():
        pytest.skip(done.stdout.strip())


@pytest.fixture
def two_cpus(allowed: None) -> None:
    if not {0, 1} <= os.sched_getaffinity(0):
        pytest.skip("needs CPUs 0 and 1")


def found_in(tree: Path, *sources: str) -> _native.Found:
    return _native.Hardware(sysfs=str(tree), sources=list(sources or ("rapl-perf",))).found[0]


def measured(tree: Path, seconds: float) -> EnergyReport:
    with Profiler(sysfs=str(tree), sources=["rapl-perf"], model=False) as prof:
        time.sleep(seconds)
    return prof.report()


def test_energies_are_the_clock_times_the_scale(tmp_path: Path, allowed: None) -> None:
    events = {"energy-pkg": (CLOCK, 25 * WATT), "energy-ram": (CLOCK, 4 * WATT)}
    tree = write_tree(tmp_path, pmu(events) | topology({0: (0, 0)}))
    report = measured(tree, 1.03)
    for channel, power_w in (("package-0", 25.0), ("package-0/dram", 4.0)):
        row = report.channels[channel]
        assert row.energy_j == pytest.approx(power_w * report.run.duration_s, rel=0.005)
        assert (row.quality, row.method, row.counted) == ("measured", "counter", True)
    assert report.energy_j == pytest.approx(29.0 * report.run.duration_s, rel=0.005)


def test_domains_are_named_and_nested_as_powercap_does(tmp_path: Path, allowed: None) -> None:
    names = ("energy-pkg", "energy-cores", "energy-gpu", "energy-ram", "energy-psys")
    files = pmu({name: (CLOCK, 2.0**-32) for name in names}) | topology({0: (0, 0)})
    found = found_in(write_tree(tmp_path, files))
    assert [(row.id, row.domain, row.counted, row.parent) for row in found.channels] == [
        ("package-0", "package", True, ""),
        ("package-0/core", "core", False, "package-0"),
        ("package-0/uncore", "uncore", False, "package-0"),
        ("package-0/dram", "dram", True, ""),
        ("psys", "psys", False, ""),
    ]
    assert all(row.unit == 2.0**-32 and row.range == 0 for row in found.channels)


def test_a_socket_has_the_number_that_the_topology_gives_it(tmp_path: Path, two_cpus: None) -> None:
    files = pmu({"energy-pkg": (CLOCK, WATT)}, cpumask="0-1") | topology({0: (1, 0), 1: (0, 0)})
    found = found_in(write_tree(tmp_path, files))
    assert {row.id for row in found.channels} == {"package-0", "package-1"}


def test_the_dies_of_a_socket_are_told_apart(tmp_path: Path, two_cpus: None) -> None:
    files = pmu({"energy-pkg": (CLOCK, WATT)}, cpumask="0,1") | topology({0: (0, 0), 1: (0, 1)})
    found = found_in(write_tree(tmp_path, files))
    assert [row.id for row in found.channels] == ["package-0-die-0", "package-0-die-1"]


def test_cores_are_summed_and_not_counted(tmp_path: Path, two_cpus: None) -> None:
    files = pmu({"energy-pkg": (CLOCK, 9 * WATT)})
    files |= pmu({"energy-core": (CLOCK, WATT)}, name="power_core", cpumask="0,1")
    tree = write_tree(tmp_path, files | topology({0: (0, 0), 1: (0, 0)}))
    report = measured(tree, 2.2)
    core = report.channels["package-0/core"]
    assert core.mean_w == pytest.approx(2.0, rel=0.01)
    assert (core.counted, core.parent) == (False, "package-0")
    assert report.energy_j == report.channels["package-0"].energy_j


def test_a_counter_that_stands_still_is_missing_and_not_zero(tmp_path: Path, allowed: None) -> None:
    events = {"energy-pkg": (CLOCK, WATT), "energy-ram": (DUMMY, WATT)}
    found = found_in(write_tree(tmp_path, pmu(events) | topology({0: (0, 0)})))
    assert [row.id for row in found.channels] == ["package-0"]
    (dram,) = found.unreadable
    assert (dram.id, dram.quality) == ("package-0/dram", "unmeasured")
    assert "stands still" in dram.reason


def test_events_in_another_unit_or_without_a_scale_are_left_out(
    tmp_path: Path, allowed: None
) -> None:
    events = {name: (CLOCK, WATT) for name in ("energy-pkg", "energy-ram", "energy-gpu")}
    tree = write_tree(tmp_path, pmu(events) | topology({0: (0, 0)}))
    (tree / PMU / "power/events/energy-ram.unit").write_text("Watts\n")
    (tree / PMU / "power/events/energy-gpu.scale").unlink()
    assert [row.id for row in found_in(tree).channels] == ["package-0"]


@pytest.mark.parametrize("place", ["config:99", "config1:0-7", ""])
def test_an_event_in_a_place_that_is_not_known_is_left_out(tmp_path: Path, place: str) -> None:
    tree = write_tree(tmp_path, pmu({"energy-pkg": (CLOCK, WATT)}) | topology({0: (0, 0)}))
    (tree / PMU / "power/format/event").write_text(f"{place}\n")
    found = found_in(tree)
    assert (found.available, found.channels) == (False, [])
    assert "names no energy event that can be used" in found.reason


def test_a_processor_that_goes_and_returns_is_a_gap(tmp_path: Path, allowed: None) -> None:
    """Its counter answers with an end of file, as /dev/null does, and the PMU names it no more. On
    its return it begins anew at 0; meanwhile the other socket goes on."""
    places = {cpu: (cpu, 0) for cpu in {0, 1} & os.sched_getaffinity(0)}
    mask = ",".join(map(str, places))
    files = pmu({"energy-pkg": (CLOCK, 25 * WATT)}, cpumask=mask) | topology(places)
    tree, before = write_tree(tmp_path, files), _event_files()
    with Profiler(sysfs=str(tree), sources=["rapl-perf"], model=False) as prof:
        time.sleep(0.5)
        first, *_ = sorted(_event_files() - before)
        (tree / PMU / "power/cpumask").write_text(mask.removeprefix("0").removeprefix(",") + "\n")
        with open(os.devnull, "rb") as null:
            os.dup2(null.fileno(), first, inheritable=False)
        time.sleep(0.5)
        (tree / PMU / "power/cpumask").write_text(mask + "\n")
        time.sleep(0.5)
    report = prof.report()
    events = [event for event in report.events if event.channel == "package-0"]
    assert [event.kind for event in events].count("lost") == 1
    assert [event.kind for event in events].count("back") == 1
    assert next(event.count for event in events if event.kind == "lost") > 1
    row = report.channels["package-0"]
    assert row.coverage is not None
    assert row.energy_j is not None
    assert 0.3 < row.coverage < 0.85
    covered_s = row.coverage * report.run.duration_s
    assert row.energy_j == pytest.approx(25.0 * covered_s, rel=0.05)
    for cpu in places.keys() - {0}:
        other = report.channels[f"package-{cpu}"]
        assert other.energy_j == pytest.approx(25.0 * report.run.duration_s, rel=0.03)
        assert not [event for event in report.events if event.channel == f"package-{cpu}"]


def _event_files() -> set[int]:
    """Open descriptors of performance counters."""
    entries = Path("/proc/self/fd").iterdir()
    return {
        int(fd.name) for fd in entries if fd.is_symlink() and "perf_event" in str(fd.readlink())
    }


def test_no_pmu_is_said_without_advice(tmp_path: Path) -> None:
    found = found_in(tmp_path)
    assert not found.available
    assert f"{tmp_path}/{PMU}/power does not exist" in found.reason
    assert found.remedy == ""


# -- beside powercap -------------------------------------------------------------------------------

ZONES = powercap({"intel-rapl:0": ("package-0", 5), "intel-rapl:0:0": ("uncore", 7)})


def test_one_interface_reads_each_domain(tmp_path: Path, allowed: None) -> None:
    files = pmu({"energy-pkg": (CLOCK, WATT), "energy-ram": (CLOCK, WATT)})
    tree = write_tree(tmp_path, files | ZONES | topology({0: (0, 0)}))
    machine = open_machine(Look(sysfs=str(tree), nvml=NO_NVML, model=False))
    assert [(row.id, row.source) for row in machine.channels] == [
        ("package-0", "rapl-perf"),
        ("package-0/dram", "rapl-perf"),
        ("package-0/uncore", "rapl-powercap"),
    ]
    assert "RAPL is read through rapl-perf, so rapl-powercap leaves out package-0" in machine.notes


def test_an_interface_that_misses_a_socket_stands_back(tmp_path: Path, allowed: None) -> None:
    files = pmu({"energy-pkg": (CLOCK, WATT)}, cpumask="0,4095")
    files |= powercap({"intel-rapl:0": ("package-0", 5), "intel-rapl:1": ("package-1", 5)})
    tree = write_tree(tmp_path, files | topology({0: (0, 0), 4095: (1, 0)}))
    machine = open_machine(Look(sysfs=str(tree), nvml=NO_NVML, model=False))
    assert [(row.id, row.source) for row in machine.channels] == [
        ("package-0", "rapl-powercap"),
        ("package-1", "rapl-powercap"),
    ]
    assert not [row for row in machine.unmeasured if row.domain == "package"]


# -- without permission ----------------------------------------------------------------------------

# What is found by a process that has given up all its capabilities.
_UNPRIVILEGED = """
import ctypes, json, sys
from pyprof import _native
libc = ctypes.CDLL(None, use_errno=True)
header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
if libc.capset(header, nothing) != 0:
    sys.exit("capset: " + str(ctypes.get_errno()))
found = _native.Hardware(sysfs=sys.argv[1], sources=["rapl-perf", "rapl-powercap"]).found
print(json.dumps([[f.available, f.reason, f.remedy, [c.id for c in f.channels],
                   [c.id for c in f.unreadable]] for f in found]))
"""


@pytest.fixture
def paranoid() -> str:
    level = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
    if int(level) <= 0:
        pytest.skip(f"kernel.perf_event_paranoid is {level}: everybody may read the counters")
    return level


def unprivileged(tree: Path) -> list[list[object]]:
    done = subprocess.run(
        [sys.executable, "-c", _UNPRIVILEGED, str(tree)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tree,
    )
    answer: list[list[object]] = json.loads(done.stdout)
    return answer


def test_a_refusal_names_the_errno_and_the_remedy(tmp_path: Path, paranoid: str) -> None:
    tree = write_tree(tmp_path, pmu({"energy-pkg": (CLOCK, WATT)}) | topology({0: (0, 0)}))
    (available, reason, remedy, readable, unreadable), _ = unprivileged(tree)
    assert not available
    assert f"{tree}/{PMU}/power: perf_event_open: " in str(reason)
    assert f"kernel.perf_event_paranoid is {paranoid}" in str(reason)
    assert "errno" in str(reason)
    assert "cap_perfmon" in str(remedy)
    assert (readable, unreadable) == ([], ["package-0"])


def test_powercap_takes_over_where_perf_is_refused(tmp_path: Path, paranoid: str) -> None:
    files = pmu({"energy-pkg": (CLOCK, WATT)}) | ZONES | topology({0: (0, 0)})
    perf, zones = unprivileged(write_tree(tmp_path, files))
    assert perf[2:] == ["", [], []]
    assert zones[3:] == [["package-0", "package-0/uncore"], []]
