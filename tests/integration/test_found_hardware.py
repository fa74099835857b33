"""What a machine is found to have: sensors, models for what has none, and what stays unmeasured."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pyprof.errors import UsageError
from pyprof.hardware import Look, Machine, open_machine
from pyprof.profiler import Profiler
from pyprof.session import Session

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from sim import machine as simulated
from sim import ready, waveform
from sim.zone import Zone

SOCKETS = 2
CORES = 32
MEMORY_GB = 64


@pytest.fixture
def proc(tmp_path: Path) -> str:
    """What stands for /proc: two EPYC 7543 that do nothing, and 64 GB."""
    folder = tmp_path / "proc"
    folder.mkdir()
    processors = [
        f"processor\t: {number}\nmodel name\t: AMD EPYC 7543 32-Core Processor\n"
        f"physical id\t: {number // (2 * CORES)}\ncore id\t\t: {number % CORES}\nflags\t\t: fpu\n"
        for number in range(SOCKETS * CORES * 2)
    ]
    (folder / "cpuinfo").write_text("\n".join(processors))
    (folder / "meminfo").write_text(f"MemTotal: {MEMORY_GB * 1024 * 1024} kB\n")
    (folder / "stat").write_text("cpu  100 0 100 10000 0 0 0 0 0 0\n")
    return str(folder)


def _open(sysfs: str, proc: str, *, model: bool = True) -> Machine:
    return open_machine(Look(sysfs=sysfs, proc=proc, nvml=f"{sysfs}/no-library", model=model))


def _source(machine: Machine, name: str) -> tuple[bool, str | None]:
    (source,) = (source for source in machine.sources if source.name == name)
    return source.available, source.reason


def test_what_can_be_read_is_not_modelled(tmp_path: Path, proc: str) -> None:
    with ready.two_sockets().running(tmp_path) as machine:
        found = _open(machine.sysfs, proc)
    assert {channel.id for channel in found.channels} == {
        "package-0",
        "package-0/dram",
        "package-1",
        "package-1/dram",
    }
    assert {channel.quality for channel in found.channels} == {"measured"}
    assert found.unmeasured == ()
    assert _source(found, "modelled") == (True, "nothing to model: what is present can be read")
    assert found.scope == "CPU packages and memory of the whole machine, whatever runs on it"


def test_packages_that_cant_be_read_are_modelled_under_their_names(
    tmp_path: Path, proc: str
) -> None:
    with ready.unreadable_rapl().running(tmp_path) as machine:
        found = _open(machine.sysfs, proc)
        available, reason = _source(found, "rapl-powercap")
    assert not available
    assert reason is not None
    assert "energy_uj" in reason
    assert [(c.id, c.quality, c.counted) for c in found.channels] == [
        ("package-0", "modelled", True),
        ("package-1", "modelled", True),
        ("dram", "modelled", True),
    ]
    package = found.channels[0]
    assert "'EPYC 7543' 225 W" in package.reason
    assert (package.low_ratio, package.high_ratio) == pytest.approx((0.25, 1.1))
    assert package.tolerance is None
    assert found.unmeasured == ()


def test_without_models_they_stay_unmeasured_with_file_and_cause(tmp_path: Path, proc: str) -> None:
    with ready.unreadable_rapl().running(tmp_path) as machine:
        found = _open(machine.sysfs, proc, model=False)
    assert found.channels == ()
    assert found.native is None
    assert {channel.id for channel in found.unmeasured} == {"package-0", "package-1", "dram"}
    assert all(channel.quality == "unmeasured" for channel in found.unmeasured)
    (package,) = (channel for channel in found.unmeasured if channel.id == "package-0")
    assert "energy_uj" in package.reason
    assert _source(found, "modelled") == (False, "switched off")


def test_memory_beside_packages_without_it_is_modelled(tmp_path: Path, proc: str) -> None:
    zones = (Zone("package-0", waveform.constant(100.0)),)
    with simulated.Machine(zones=zones).running(tmp_path) as machine:
        found = _open(machine.sysfs, proc)
    assert [(channel.id, channel.quality) for channel in found.channels] == [
        ("package-0", "measured"),
        ("dram", "modelled"),
    ]


def test_a_platform_counter_holds_packages_and_memory(tmp_path: Path, proc: str) -> None:
    zones = (Zone("psys", waveform.constant(100.0)),)
    with simulated.Machine(zones=zones).running(tmp_path) as machine:
        found = _open(machine.sysfs, proc)
    assert [channel.id for channel in found.channels] == ["psys"]
    assert found.scope == "the platform of the whole machine, whatever runs on it"


def test_named_sources_are_the_only_ones(tmp_path: Path, proc: str) -> None:
    with ready.two_sockets().running(tmp_path) as machine:
        look = Look(sysfs=machine.sysfs, proc=proc, sources=("modelled",))
        found = open_machine(look)
    assert {channel.quality for channel in found.channels} == {"modelled"}
    assert [source.name for source in found.sources] == ["modelled"]


def test_gpus_without_a_driver_are_listed_and_not_estimated(tmp_path: Path, proc: str) -> None:
    for address, vendor in (("0000:17:00.0", "0x10de"), ("0000:65:00.0", "0x1002")):
        place = tmp_path / "sys/bus/pci/devices" / address
        place.mkdir(parents=True)
        for name, text in (("vendor", vendor), ("class", "0x030200"), ("device", "0x20b0")):
            (place / name).write_text(text + "\n")
    found = _open(str(tmp_path / "sys"), proc)
    reasons = {channel.id: channel.reason for channel in found.unmeasured}
    assert reasons.keys() == {"pci-0000:17:00.0", "pci-0000:65:00.0"}
    assert "library" in reasons["pci-0000:17:00.0"]
    assert reasons["pci-0000:65:00.0"] == "no driver shows the power of this AMD GPU"
    assert all(channel.domain == "gpu" for channel in found.unmeasured)


def test_a_machine_that_tells_nothing_is_not_estimated(tmp_path: Path) -> None:
    found = _open(str(tmp_path), str(tmp_path))
    assert found.channels == ()
    assert found.unmeasured == ()
    assert any("cpuinfo can't be read" in note for note in found.notes)
    assert any("meminfo can't be read" in note for note in found.notes)
    assert found.scope == "nothing: no sensor can be read and nothing is modelled"


def test_an_idle_machine_is_modelled_at_its_idle_share(tmp_path: Path, proc: str) -> None:
    look = Look(sysfs=str(tmp_path / "none"), proc=proc, sources=("modelled",))
    session = Session(look, out=None)
    session.start()
    time.sleep(1.0)
    session.stop()
    report = session.recording.report()
    for number in range(SOCKETS):
        channel = report.channels[f"package-{number}"]
        assert channel.mean_w == pytest.approx(0.15 * 225, rel=0.01)
        assert channel.energy_j is not None
        assert channel.low_j is not None
        assert channel.high_j is not None
        assert channel.low_j <= 0.26 * channel.energy_j
        assert channel.high_j >= 1.09 * channel.energy_j
    assert report.channels["dram"].mean_w == pytest.approx(0.375 * MEMORY_GB, rel=0.01)
    assert report.total.by_quality.keys() == {"modelled"}


# -- simulated signals -----------------------------------------------------------------------------

SIGNALS = """
[[channel]]
id = "package-0"
kind = "square"
low_w = 60
high_w = 180
period_s = 0.5
[channel.sensor]
period_s = 0.001
quantum_j = 0.0001
wrap_j = 100

[[channel]]
id = "gpu0"
kind = "constant"
watts = 250
"""


@pytest.fixture
def signals(tmp_path: Path) -> str:
    path = tmp_path / "signals.toml"
    path.write_text(SIGNALS)
    return str(path)


def test_simulated_signals_stand_for_the_machine(signals: str) -> None:
    found = open_machine(Look(simulate=signals))
    assert [(c.id, c.method, c.source) for c in found.channels] == [
        ("package-0", "replay", "replay"),
        ("gpu0", "replay", "replay"),
    ]
    assert [source.name for source in found.sources] == ["replay"]
    assert found.scope == f"simulated signals of {signals}, not this machine"


def test_simulated_energy_is_that_of_the_signal_over_wraps(signals: str) -> None:
    with Profiler(simulate=signals) as prof:
        time.sleep(3.0)
    report = prof.report()
    duration_s = report.run.duration_s
    assert report.channels["gpu0"].energy_j == pytest.approx(250 * duration_s, rel=0.01)
    # A square wave of mean 120 W differs by half a period at 60 W at the most, whatever its phase.
    assert report.channels["package-0"].energy_j == pytest.approx(120 * duration_s, abs=16)
    assert "wrap" in {event.kind for event in report.events}


def test_signals_join_other_sources_that_are_named(tmp_path: Path, signals: str, proc: str) -> None:
    look = Look(proc=proc, sysfs=str(tmp_path / "none"), simulate=signals, sources=("replay",))
    assert len(open_machine(look).channels) == 2
    both = Look(
        proc=proc, sysfs=str(tmp_path / "none"), simulate=signals, sources=("modelled", "replay")
    )
    with pytest.raises(UsageError, match=r"the machine has a channel 'package-0': rename it"):
        open_machine(both)


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (Look(sources=()), "no source is named"),
        (Look(sources=("replay",)), "add --simulate"),
        (Look(sources=("modelled",), simulate="signals.toml"), "name it as well"),
        (Look(simulate="none.toml"), "none.toml can't be read"),
    ],
)
def test_a_look_that_means_nothing_is_refused(look: Look, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_machine(look)


def test_a_recorded_channel_can_be_played_again(tmp_path: Path, signals: str) -> None:
    recording = tmp_path / "first.pyprof"
    with Profiler(simulate=signals, out=recording):
        time.sleep(1.5)
    again = tmp_path / "again.toml"
    again.write_text(
        '[[channel]]\nid = "gpu0"\nkind = "recording"\nfile = "first.pyprof"\nchannel = "gpu0"\n'
    )
    with Profiler(simulate=str(again)) as prof:
        time.sleep(1.0)
    report = prof.report()
    assert report.channels["gpu0"].mean_w == pytest.approx(250, rel=0.02)


def test_a_channel_that_was_not_recorded_is_refused_by_name(tmp_path: Path, signals: str) -> None:
    with Profiler(simulate=signals, out=tmp_path / "first.pyprof"):
        time.sleep(0.3)
    again = tmp_path / "again.toml"
    again.write_text(
        '[[channel]]\nid = "gpu7"\nkind = "recording"\nfile = "first.pyprof"\nchannel = "gpu7"\n'
    )
    with pytest.raises(UsageError, match="has no channel 'gpu7': it has package-0, gpu0"):
        open_machine(Look(simulate=str(again)))
