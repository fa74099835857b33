"""RAPL through powercap: which zones there are, which of them count, and what can't be read."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from sysfs_tree import NO_NVML, powercap, write_tree

from pyprof import _native
from pyprof.hardware import Look, Machine, open_machine
from pyprof.profiler import Profiler

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from sim import ready

Zones = Mapping[str, tuple[str, int]]

SOCKETS: Zones = {
    "intel-rapl:0": ("package-0", 11_000_000_000),
    "intel-rapl:0:0": ("core", 7_000_000_000),
    "intel-rapl:0:1": ("dram", 900_000_000),
    "intel-rapl:1": ("package-1", 222_000_000_000),
    "intel-rapl:1:0": ("dram", 1_800_000_000),
}


def find(tree: Path) -> _native.Found:
    return _native.Hardware(sysfs=str(tree), sources=["rapl-powercap"]).found[0]


def laid(root: Path, zones: Zones, *unreadable: str) -> Path:
    """A tree of zones; a folder in place of a counter can't be read, by root either."""
    write_tree(root, powercap(zones))
    for key in unreadable:
        file = root / "class/powercap" / key / "energy_uj"
        file.unlink()
        file.mkdir()
    return root


def counted(found: _native.Found) -> dict[str, bool]:
    return {channel.id: channel.counted for channel in found.channels}


def opened(tree: Path, *, model: bool = True, proc: str = "/proc") -> Machine:
    look = Look(sysfs=str(tree), proc=proc, nvml=NO_NVML, model=model)
    return open_machine(look)


def test_a_pipe_in_a_counters_place_is_not_waited_for(tmp_path: Path) -> None:
    tree = laid(tmp_path, {"intel-rapl:0": SOCKETS["intel-rapl:0"]})
    for name in ("energy_uj", "max_energy_range_uj"):
        file = tree / "class/powercap/intel-rapl:0" / name
        file.unlink()
        os.mkfifo(file)
    assert find(tree).channels == []


# -- which zones count -----------------------------------------------------------------------------


def test_two_sockets_with_what_lies_inside(tmp_path: Path) -> None:
    found = find(laid(tmp_path, SOCKETS))
    assert counted(found) == {
        "package-0": True,
        "package-0/core": False,
        "package-0/dram": True,
        "package-1": True,
        "package-1/dram": True,
    }
    (core,) = (channel for channel in found.channels if channel.id == "package-0/core")
    assert (core.domain, core.parent) == ("core", "package-0")
    assert found.notes == []


@pytest.mark.parametrize("machine", [ready.mirrored_dies, ready.two_dies])
def test_dies_count_once_if_they_show_one_register(tmp_path: Path, machine: object) -> None:
    with machine().running(tmp_path) as running:  # type: ignore[operator]
        seen = [counted(find(Path(running.sysfs))) for _ in range(5)]
    second = machine is ready.two_dies
    assert seen == [{"package-0-die-0": True, "package-0-die-1": second}] * 5


def test_one_name_twice_is_one_counter_if_it_shows_one_value(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": ("package-0", 41_000_000), "intel-rapl:1": ("package-0", 41_000_000)}
    found = find(laid(tmp_path, zones))
    assert counted(found) == {"package-0": True, "package-0#2": False}
    assert "package-0#2 is not counted: mirrors package-0" in found.notes


def test_one_name_with_two_counters_is_two(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": ("package-0", 41_000_000), "intel-rapl:1": ("package-0", 93_000_000)}
    assert counted(find(laid(tmp_path, zones))) == {"package-0": True, "package-0#2": True}


def test_memory_mapped_registers_are_a_twin(tmp_path: Path) -> None:
    zones = {
        "intel-rapl:0": ("package-0", 41_000_000),
        "intel-rapl:0:0": ("dram", 5_000_000),
        "intel-rapl-mmio:0": ("package-0", 39_000_000),
        "intel-rapl-mmio:0:0": ("dram", 4_000_000),
    }
    assert counted(find(laid(tmp_path, zones))) == {
        "package-0": True,
        "package-0/dram": True,
        "intel-rapl-mmio/package-0": False,
        "intel-rapl-mmio/package-0/dram": False,
    }


def test_memory_that_only_the_twin_shows_counts(tmp_path: Path) -> None:
    zones = {
        "intel-rapl:0": ("package-0", 41_000_000),
        "intel-rapl-mmio:0": ("package-0", 39_000_000),
        "intel-rapl-mmio:0:0": ("dram", 4_000_000),
    }
    assert counted(find(laid(tmp_path, zones))) == {
        "package-0": True,
        "intel-rapl-mmio/package-0": False,
        "intel-rapl-mmio/package-0/dram": True,
    }


def test_a_twin_stands_in_for_a_zone_that_cant_be_read(tmp_path: Path) -> None:
    zones = {
        "intel-rapl:0": ("package-0", 41_000_000),
        "intel-rapl-mmio:0": ("package-0", 39_000_000),
    }
    found = find(laid(tmp_path, zones, "intel-rapl:0"))
    assert counted(found) == {"intel-rapl-mmio/package-0": True}
    (hidden,) = found.unreadable
    assert (hidden.id, hidden.counted) == ("package-0", False)
    assert "intel-rapl-mmio/package-0" in hidden.reason


def test_the_platform_counts_alone_only(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": ("package-0", 41_000_000), "intel-rapl:1": ("psys", 88_000_000)}
    assert counted(find(laid(tmp_path / "both", zones))) == {"package-0": True, "psys": False}
    alone = find(laid(tmp_path / "alone", zones, "intel-rapl:0"))
    assert counted(alone) == {"psys": True}
    assert [(c.id, c.counted) for c in alone.unreadable] == [("package-0", False)]


def test_one_platform_is_shown_by_several_sockets(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": ("psys", 0), "intel-rapl:1": ("psys", 88_000_000)}
    assert counted(find(laid(tmp_path, zones))) == {"psys": False, "psys#2": True}


def test_zones_of_no_known_kind_are_shown_under_a_name(tmp_path: Path) -> None:
    zones = {
        "intel-rapl:0": ("package-0", 41_000_000),
        "intel-rapl:0:0": ("accelerator", 5),
        "intel-rapl:2": ("", 7),
    }
    found = find(laid(tmp_path, zones))
    assert counted(found) == {
        "package-0": True,
        "package-0/accelerator": False,
        "intel-rapl:2": False,
    }
    assert {channel.domain for channel in found.channels} == {"package", "other"}


# -- what can't be read ----------------------------------------------------------------------------


@pytest.fixture
def proc(tmp_path: Path) -> str:
    """What stands for /proc: two EPYC 7543 that do nothing, and 64 GB."""
    processors = (
        f"processor\t: {number}\nmodel name\t: AMD EPYC 7543 32-Core Processor\n"
        f"physical id\t: {number // 64}\ncore id\t\t: {number % 32}\nflags\t\t: fpu\n"
        for number in range(128)
    )
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cpuinfo").write_text("\n".join(processors))
    (folder / "meminfo").write_text(f"MemTotal: {64 * 1024 * 1024} kB\n")
    (folder / "stat").write_text("cpu  100 0 100 10000 0 0 0 0 0 0\n")
    return str(folder)


def rows(machine: Machine) -> dict[str, tuple[str, bool]]:
    channels = (*machine.channels, *machine.unmeasured)
    return {channel.id: (channel.quality, channel.counted) for channel in channels}


def test_the_socket_that_cant_be_read_is_modelled_beside_the_other(
    tmp_path: Path, proc: str
) -> None:
    tree = laid(tmp_path / "sys", SOCKETS, "intel-rapl:1", "intel-rapl:1:0")
    machine = opened(tree, proc=proc)
    assert rows(machine) == {
        "package-0": ("measured", True),
        "package-0/core": ("measured", False),
        "package-0/dram": ("measured", True),
        "package-1": ("modelled", True),
        "package-1/dram": ("modelled", True),
    }
    by_id = {channel.id: channel for channel in machine.channels}
    assert by_id["package-1"].limit_w == pytest.approx(225)
    # Half of the memory, at 0.375 W per GB.
    assert by_id["package-1/dram"].limit_w == pytest.approx(0.375 * 64 / 2)
    assert by_id["package-1"].low_ratio < 1 < by_id["package-1"].high_ratio


def test_without_models_it_stays_unmeasured(tmp_path: Path, proc: str) -> None:
    tree = laid(tmp_path / "sys", SOCKETS, "intel-rapl:1", "intel-rapl:1:0")
    found = rows(opened(tree, model=False, proc=proc))
    assert found["package-0"] == ("measured", True)
    assert found["package-1"] == ("unmeasured", True)
    assert found["package-1/dram"] == ("unmeasured", True)


def test_in_a_virtual_machine_each_missing_socket_has_its_share(tmp_path: Path, proc: str) -> None:
    text = Path(proc, "cpuinfo").read_text().replace(": fpu", ": fpu hypervisor")
    Path(proc, "cpuinfo").write_text(text)
    machine = opened(laid(tmp_path / "sys", SOCKETS, "intel-rapl:1"), proc=proc)
    by_id = {channel.id: channel for channel in machine.channels}
    assert by_id["package-1"].quality == "modelled"
    # 128 threads seen of 64 of the real part: two parts, one of them is measured.
    assert by_id["package-1"].limit_w == pytest.approx(225)


def test_every_file_that_is_refused_is_named_with_its_error(tmp_path: Path) -> None:
    found = find(laid(tmp_path, SOCKETS, "intel-rapl:1"))
    assert found.available
    (refused,) = found.unreadable
    assert refused.id == "package-1"
    assert "intel-rapl:1/energy_uj: is a directory (errno 21)" in refused.reason
    assert refused.reason == found.reason


def _refused_to_nobody(tree: str, write: int) -> None:
    os.setgid(65534)
    os.setuid(65534)
    found = find(Path(tree))
    text = f"{found.available}|{[c.id for c in found.channels]}|{found.reason}|{found.remedy}"
    os.write(write, text.encode())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_files_of_root_are_refused_to_others(tmp_path: Path) -> None:
    tree = laid(tmp_path, SOCKETS)
    for file in tree.rglob("energy_uj"):
        file.chmod(0o400)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            _refused_to_nobody(str(tree), write)
        finally:
            os._exit(0)
    os.close(write)
    said = os.read(read, 65536).decode()
    os.close(read)
    os.waitpid(child, 0)
    available, channels, reason, remedy = said.split("|")
    assert (available, channels) == ("False", "[]")
    assert "energy_uj: permission denied (errno 13)" in reason
    assert "chgrp powercap" in remedy


def test_a_range_that_cant_be_read_makes_no_negative_energy(tmp_path: Path) -> None:
    tree = laid(tmp_path, {"intel-rapl:0": ("package-0", 0)})
    (tree / "class/powercap/intel-rapl:0/max_energy_range_uj").unlink()
    file = tree / "class/powercap/intel-rapl:0/energy_uj"
    file.write_text("262143000000\n")
    values = itertools.chain([262_143_100_000, 262_143_200_000], itertools.count(50_000, 5_000_000))
    with Profiler(sysfs=str(tree), sources=["rapl-powercap"], model=False) as prof:
        for value in itertools.islice(values, 12):
            fresh = file.with_name("fresh")
            fresh.write_text(f"{value}\n")
            os.replace(fresh, file)
            time.sleep(0.1)
    report = prof.report()
    assert "max_energy_range_uj can't be read" in " ".join(event.text for event in report.events)
    assert {"reset"} <= {event.kind for event in report.events}
    assert report.energy_j is not None
    # Nine steps of 5 J after the fall; what the fall itself took is not known.
    assert 30 < report.energy_j < 60


def test_a_read_that_fails_midway_is_a_gap(tmp_path: Path) -> None:
    tree = laid(tmp_path, {"intel-rapl:0": ("package-0", 1_000_000)})
    file = tree / "class/powercap/intel-rapl:0/energy_uj"
    with Profiler(sysfs=str(tree), sources=["rapl-powercap"], model=False) as prof:
        for step in range(12):
            if 4 <= step < 7:
                file.write_text("broken\n")
            else:
                file.write_text(f"{1_000_000 + step * 2_000_000}\n")
            time.sleep(0.1)
    report = prof.report()
    kinds = {event.kind for event in report.events}
    assert "failed" in kinds
    assert not kinds & {"wrap", "reset"}
    assert report.overhead.failed_reads
    # The counter bridges it: eleven steps of 2 J, the ends apart.
    assert report.energy_j == pytest.approx(22, abs=3)
