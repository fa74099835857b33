"""The simulated sensors against the signals behind them."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sim import ready, waveform
from sim.machine import Machine
from sim.zone import Zone


def read_uj(sysfs: str, key: str) -> int:
    return int(Path(sysfs, "class/powercap", key, "energy_uj").read_text())


def test_a_zone_shows_the_energy_of_its_signal(tmp_path: Path) -> None:
    zones = (Zone("package-0", waveform.square(60.0, 200.0)),)
    with Machine(zones=zones).running(tmp_path) as machine:
        first_uj, start_ns = read_uj(machine.sysfs, "intel-rapl:0"), time.monotonic_ns()
        time.sleep(1.37)
        last_uj, end_ns = read_uj(machine.sysfs, "intel-rapl:0"), time.monotonic_ns()
        truth_j = machine.truth_j("package-0", start_ns, end_ns)
    # 50 ms at the highest power: how late a busy machine may make the two reads.
    assert (last_uj - first_uj) * 1e-6 == pytest.approx(truth_j, abs=200.0 * 0.05)


def test_counters_wrap_within_the_range_they_announce(tmp_path: Path) -> None:
    with ready.two_sockets(range_j=20.0).running(tmp_path) as machine:
        folder = Path(machine.sysfs, "class/powercap/intel-rapl:0")
        highest_uj = int((folder / "max_energy_range_uj").read_text())
        seen = []
        until_ns = time.monotonic_ns() + 1_000_000_000
        while time.monotonic_ns() < until_ns:
            seen.append(read_uj(machine.sysfs, "intel-rapl:0"))
            time.sleep(0.005)
        rises = [(b - a) % (highest_uj + 1) for a, b in pairwise(seen)]
        truth_j = machine.truth_j("package-0", until_ns - 1_000_000_000, until_ns)
    assert max(seen) <= highest_uj
    assert any(b < a for a, b in pairwise(seen))
    assert sum(rises) * 1e-6 == pytest.approx(truth_j, abs=210.0 * 0.05)


def test_an_unreadable_zone_fails_for_root_too(tmp_path: Path) -> None:
    with ready.unreadable_rapl().running(tmp_path) as machine:
        assert machine.tree_pid is None
        with pytest.raises(IsADirectoryError):
            read_uj(machine.sysfs, "intel-rapl:0")


def test_ids_name_nesting_and_control(tmp_path: Path) -> None:
    known = set(ready.twin_zones().signals())
    assert known == {
        "package-0",
        "package-0/core",
        "package-0/dram",
        "psys",
        "intel-rapl-mmio/package-0",
    }


def test_two_machines_of_one_kind_are_equal() -> None:
    assert replace(ready.two_sockets()) == ready.two_sockets()
