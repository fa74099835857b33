"""The counter tree, as files and as other people's programs see it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sim import ready, waveform
from sim.build import TREE, native
from sim.fault import Span
from sim.machine import Machine, Running
from sim.overlay import as_nobody, over_sys, why_not_over_sys
from sim.waveform import to_ns
from sim.zone import RAPL, Zone
from sim_programs import python


def counter(machine: Running, key: str = "intel-rapl:0") -> Path:
    return Path(machine.sysfs, "class/powercap", key, "energy_uj")


def sleep_until(machine: Running, at_s: float) -> None:
    time.sleep(max(0.0, machine.epoch_ns + to_ns(at_s) - time.monotonic_ns()) * 1e-9)


@pytest.fixture
def overlaid(tmp_path: Path) -> None:
    if reason := why_not_over_sys(str(tmp_path)):
        pytest.skip(f"no private mount namespace here: {reason}")


def test_the_tree_is_laid_out_as_the_kernel_does_it(tmp_path: Path) -> None:
    with ready.twin_zones().running(tmp_path) as machine:
        powercap = Path(machine.sysfs, "class/powercap")
        keys = {"intel-rapl", "intel-rapl:0", "intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:1"}
        keys |= {"intel-rapl-mmio", "intel-rapl-mmio:0"}
        assert {each.name for each in powercap.iterdir()} == keys
        assert all(each.is_symlink() and each.is_dir() for each in powercap.iterdir())
        root = Path(machine.sysfs, "devices/virtual/powercap/intel-rapl/intel-rapl:0")
        assert (powercap / "intel-rapl:0").samefile(root)
        assert (powercap / "intel-rapl:0:1").samefile(root / "intel-rapl:0:1")
        assert (root / "intel-rapl:0:1/name").read_text() == "dram\n"
        # 2^32 counts of 61.035 uJ: the figure that such machines are known for.
        assert (root / "max_energy_range_uj").read_text() == "262143328850\n"
        assert counter(machine).stat().st_mode & 0o777 == 0o400
        assert Path(machine.sysfs, "devices/system/cpu/online").read_text() == "0-1\n"


def test_a_value_is_that_of_the_last_update_in_whole_quanta(tmp_path: Path) -> None:
    sensor = replace(RAPL, period_s=0.02, quantum_j=0.5, range_counts=2**32, start_count=100)
    zone = Zone("package-0", waveform.ramp(20.0, 300.0, 0.7, repeat=True), sensor)
    late_ns = to_ns(0.05)  # how late a busy machine may let the writer wake
    with Machine(zones=(zone,)).running(tmp_path) as machine:
        for _ in range(60):
            before_ns = time.monotonic_ns() - machine.epoch_ns
            shown_uj = int(counter(machine).read_text())
            after_ns = time.monotonic_ns() - machine.epoch_ns
            lowest = sensor.counter_at(zone.signal, before_ns - late_ns)
            highest = sensor.counter_at(zone.signal, after_ns)
            assert shown_uj % 500_000 == 0
            assert lowest * 500_000 <= shown_uj <= highest * 500_000
            time.sleep(0.013)


def test_four_zones_keep_their_millisecond_on_little_of_a_core(tmp_path: Path) -> None:
    with ready.two_sockets().running(tmp_path) as machine:
        keys = ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1", "intel-rapl:1:0")
        changes = dict.fromkeys(keys, 0)
        files = {key: os.open(counter(machine, key), os.O_RDONLY) for key in keys}
        last: dict[str, bytes] = {}
        start_s, start_cpu_s = time.monotonic(), cpu_s(machine)
        while time.monotonic() < start_s + 2.0:
            for key, file in files.items():
                shown = os.pread(file, 32, 0)
                changes[key] += shown != last.get(key)
                last[key] = shown
            time.sleep(0.0002)
        used_s = cpu_s(machine) - start_cpu_s
        for file in files.values():
            os.close(file)
    # A quiet machine shows 2000 changes and 3 % of a core; a busy one hides some from this reader.
    assert min(changes.values()) > 500
    assert used_s < 0.5 * 2.0


def cpu_s(machine: Running) -> float:
    fields = Path(f"/proc/{machine.tree_pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_pyrapl_sees_the_truth(tmp_path: Path, overlaid: None) -> None:
    zones = tuple(
        Zone(
            f"package-{number}",
            waveform.square(60.0, 210.0, period_s=0.7),
            children=(Zone("dram", waveform.triangle(5.0, 35.0)),),
        )
        for number in range(2)
    )
    with Machine(zones=zones).running(tmp_path) as machine:
        outer_start, inner_start, inner_end, outer_end, packages, memories = python(
            machine,
            """
            import json, time
            import pyRAPL
            pyRAPL.setup(devices=[pyRAPL.Device.PKG, pyRAPL.Device.DRAM])
            measurement = pyRAPL.Measurement("run")
            stamps = [time.monotonic_ns()]
            measurement.begin()
            stamps.append(time.monotonic_ns())
            time.sleep(1.37)
            stamps.append(time.monotonic_ns())
            measurement.end()
            stamps.append(time.monotonic_ns())
            print(json.dumps([*stamps, measurement.result.pkg, measurement.result.dram]))
            """,
            over_sys(machine.sysfs),
        )
    assert len(packages) == len(memories) == 2
    late_ns = to_ns(0.05)
    shown_uj = {f"package-{n}": uj for n, uj in enumerate(packages)}
    shown_uj |= {f"package-{n}/dram": uj for n, uj in enumerate(memories)}
    for channel, uj in shown_uj.items():
        least_j = machine.truth_j(channel, inner_start, inner_end - late_ns)
        most_j = machine.truth_j(channel, outer_start - late_ns, outer_end)
        assert least_j <= uj * 1e-6 <= most_j


def test_psutil_works_on_the_tree(tmp_path: Path, overlaid: None) -> None:
    machine = replace(ready.two_sockets(), cores_per_socket=3)
    with machine.running(tmp_path) as running:
        cores, warm, battery = python(
            running,
            """
            import json, psutil
            cores = psutil.cpu_count(logical=False)
            print(json.dumps([cores, psutil.sensors_temperatures(), psutil.sensors_battery()]))
            """,
            over_sys(running.sysfs),
        )
    assert cores == 6
    assert not warm
    assert battery is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_counters_are_closed_to_all_but_root(tmp_path: Path, overlaid: None) -> None:
    with ready.two_sockets().running(tmp_path) as machine:
        path = "/sys/class/powercap/intel-rapl:0"
        script = f"cat {path}/name; cat {path}/energy_uj"
        command = [*over_sys(machine.sysfs), *as_nobody(), "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "package-0\n"
    assert "Permission denied" in done.stderr


def test_a_range_may_be_missing(tmp_path: Path) -> None:
    zone = Zone("package-0", waveform.constant(50.0), show_range=False)
    with Machine(zones=(zone,)).running(tmp_path) as machine:
        assert not counter(machine).with_name("max_energy_range_uj").exists()
        assert int(counter(machine).read_text()) >= 0


def test_a_reset_starts_from_nothing(tmp_path: Path) -> None:
    sensor = replace(RAPL, start_count=2**31)
    zone = Zone("package-0", waveform.constant(100.0), sensor, resets_s=(0.5,))
    with Machine(zones=(zone,)).running(tmp_path) as machine:
        before_uj = int(counter(machine).read_text())
        sleep_until(machine, 0.7)
        after_uj = int(counter(machine).read_text())
        most_uj = machine.truth_j("package-0", machine.epoch_ns, time.monotonic_ns()) * 1e6
    assert before_uj > 2**31 * 61
    assert 0 < after_uj < most_uj


def test_a_zone_can_go_and_come_back(tmp_path: Path) -> None:
    zone = Zone("package-0", waveform.constant(100.0), gone=(Span(0.5, 1.0),))
    with Machine(zones=(zone,)).running(tmp_path) as machine:
        path = counter(machine)
        held = os.open(path, os.O_RDONLY)
        assert os.pread(held, 32, 0).endswith(b"\n")
        sleep_until(machine, 0.7)
        assert not path.exists()
        assert os.pread(held, 32, 0) == b""
        os.close(held)
        sleep_until(machine, 1.3)
        assert int(path.read_text()) > 0


def test_a_read_can_give_nothing_for_a_while(tmp_path: Path) -> None:
    zone = Zone("package-0", waveform.constant(100.0), empty=(Span(0.5, 1.0),))
    with Machine(zones=(zone,)).running(tmp_path) as machine:
        held = os.open(counter(machine), os.O_RDONLY)
        sleep_until(machine, 0.7)
        assert os.pread(held, 32, 0) == b""
        sleep_until(machine, 1.3)
        assert int(os.pread(held, 32, 0)) > 0
        os.close(held)


def test_a_frozen_counter_catches_up(tmp_path: Path) -> None:
    zone = Zone("package-0", waveform.constant(100.0), frozen=(Span(0.4, 0.9),))
    with Machine(zones=(zone,)).running(tmp_path) as machine:
        shown = []
        for at_s in (0.55, 0.85, 1.1):
            sleep_until(machine, at_s)
            shown.append(int(counter(machine).read_text()))
    steps_uj = [b - a for a, b in pairwise(shown)]
    assert steps_uj[0] == 0
    assert steps_uj[1] > 100.0 * 0.5 * 1e6


def test_mirrored_zones_show_one_counter(tmp_path: Path) -> None:
    with ready.mirrored_dies().running(tmp_path) as machine:
        time.sleep(0.2)
        first, second = (int(counter(machine, f"intel-rapl:{n}").read_text()) for n in range(2))
    assert first > 0
    # 50 ms at the highest power, for the time between the two reads.
    assert second - first == pytest.approx(0, abs=170.0 * 0.05 * 1e6)


def test_the_counters_stop_when_the_machine_does(tmp_path: Path) -> None:
    with ready.two_sockets().running(tmp_path) as machine:
        path = counter(machine)
    stopped = path.read_text()
    time.sleep(0.05)
    assert path.read_text() == stopped
    assert not Path(f"/proc/{machine.tree_pid}").exists()


def test_the_counters_end_with_who_started_them(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, signal, sys
from sim import ready
with ready.two_sockets().running(pathlib.Path({str(tmp_path)!r})) as machine:
    print(machine.tree_pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True)
    process = Path(f"/proc/{int(done.stdout)}")
    until_s = time.monotonic() + 5
    while process.exists() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not process.exists() or ") Z " in (process / "stat").read_text()


def test_a_mistake_in_the_spec_is_named(tmp_path: Path) -> None:
    spec = tmp_path / "tree.spec"
    spec.write_text("epoch_ns 0\nzone energy_uj\nsignal repeat\nsegment ten 1 1\n")
    done = subprocess.run([native(TREE), tmp_path, spec], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "sim-tree: line 4 (segment): 'ten' is not a number\n"
