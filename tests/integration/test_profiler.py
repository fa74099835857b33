"""A profiler in one process: what it reports while running, after its end, and from its file."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from profiler_script import TOTAL_W, run_script, write_signals

import pyprof
from pyprof import host
from pyprof.errors import PyprofError, UnknownZoneError, UsageError
from pyprof.profiler import Profiler


@pytest.fixture
def signals(tmp_path: Path) -> str:
    return str(write_signals(tmp_path))


def test_total_is_power_times_duration(signals: str) -> None:
    with Profiler(simulate=signals) as prof:
        time.sleep(1.0)
    report = prof.report()
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.01)
    assert report.run.complete
    assert set(report.channels) == {"package-0", "gpu0"}
    assert report.total.by_domain.keys() == {"package", "gpu"}
    assert report.overhead.reads is not None
    assert report.overhead.reads > 0


def test_report_while_running_covers_the_time_up_to_now(signals: str) -> None:
    with Profiler(simulate=signals) as prof:
        with prof.stage("first"):
            time.sleep(0.6)
        early = prof.report()
        time.sleep(0.4)
    late = prof.report()
    assert early.run.duration_s < late.run.duration_s
    assert not early.run.complete
    assert early.stages["first"].count == 1
    assert early.energy_j == pytest.approx(TOTAL_W * early.run.duration_s, rel=0.2)


def test_file_gives_the_same_report_as_the_profiler(signals: str, tmp_path: Path) -> None:
    out = tmp_path / "run.pyprof"
    with Profiler(out=out, simulate=signals) as prof, prof.stage("work", phase="deployment"):
        time.sleep(0.5)
    own, loaded = prof.report(), pyprof.load(out).report()
    assert loaded.energy_j == own.energy_j
    assert loaded.run == own.run
    assert [(s.path, s.phase) for s in loaded.stage_rows] == [
        ("", "training"),
        ("work", "deployment"),
    ]
    assert out.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.pyprof", "signals.toml"]


def test_no_file_without_out(signals: str, tmp_path: Path) -> None:
    with Profiler(simulate=signals) as prof:
        time.sleep(0.1)
    assert prof.report().energy_j is not None
    assert [path.name for path in tmp_path.iterdir()] == ["signals.toml"]


def test_a_profiler_that_names_nobody(signals: str, tmp_path: Path) -> None:
    out = tmp_path / "run.pyprof"
    names = [each for each in (socket.gethostname(), host.boot_id(), host.machine_id()) if each]
    with pyprof.Profiler(out=out, simulate=signals, redact=True) as prof:
        with prof.stage(f"on {socket.gethostname()}"):
            pass
        early = prof.report()
    # A short name of a host may stand in a word by chance.
    raw = out.read_bytes().decode("latin-1")
    assert [each for each in names if len(each) > 8 and each in raw] == []
    for report in (early, prof.report()):
        assert report.run.host == pyprof.load(out).process.host
        assert report.run.host.startswith("host-")
        assert f"on {report.run.host}" in report.stages
    assert pyprof.load(out).defects == ()
    # Another profiler of this process names things as they are.
    with pyprof.Profiler(simulate=signals) as plain:
        beside = pyprof.Profiler(redact=True)
        with beside:
            pass
    assert plain.report().run.host == socket.gethostname()
    assert beside.report().run.host == "host-1"
    with pytest.raises(UsageError, match="pseudonyms in common"):
        pyprof.Profiler(out=tmp_path / "run.pyprof.d", redact=True).start()


def test_live_file_is_loaded_without_a_second_open(signals: str, tmp_path: Path) -> None:
    out = tmp_path / "run.pyprof"
    with Profiler(out=out, simulate=signals) as prof:
        time.sleep(0.3)
        before = sorted(os.listdir("/proc/self/fd"))
        live = pyprof.load(out)
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert live.live
        assert not live.complete
        prof.stop()
    assert pyprof.load(out).complete


def test_second_profiler_shares_the_first_ones_session(signals: str) -> None:
    with Profiler(simulate=signals) as first:
        time.sleep(0.4)
        with Profiler(phase="deployment") as second:
            assert sum(t.name == "pyprof-writer" for t in threading.enumerate()) == 1
            with second.stage("inner"):
                time.sleep(0.4)
    inner, outer = second.report(), first.report()
    assert inner.run.duration_s == pytest.approx(0.4, abs=0.15)
    assert outer.run.duration_s > inner.run.duration_s + 0.3
    assert inner.stages["inner"].phase == "deployment"
    assert outer.stages["inner"].count == 1
    assert inner.energy_j == pytest.approx(TOTAL_W * inner.run.duration_s, rel=0.05)


def test_session_lives_until_its_last_profiler_stops(signals: str) -> None:
    first, second = Profiler(simulate=signals), Profiler()
    first.start()
    time.sleep(0.2)
    second.start()
    first.stop()
    with second.stage("alone"):
        time.sleep(0.3)
    second.stop()
    assert second.report().stages["alone"].count == 1
    assert "alone" not in first.report().stages
    assert not any(t.name == "pyprof-writer" for t in threading.enumerate())


def test_profiler_can_be_started_again(signals: str) -> None:
    prof = Profiler(simulate=signals)
    for _ in range(2):
        prof.start()
        time.sleep(0.1)
        prof.stop()
        assert prof.report().energy_j is not None


def test_stopped_second_profiler_is_complete_while_the_first_goes_on(signals: str) -> None:
    with Profiler(simulate=signals) as first:
        with Profiler() as second:
            time.sleep(0.2)
        assert second.report().run.complete
        assert not first.report().run.complete


def test_many_cycles_leave_no_descriptor_and_no_thread(signals: str, tmp_path: Path) -> None:
    def cycle(number: int) -> None:
        with Profiler(out=tmp_path / f"{number}.pyprof", simulate=signals):
            pass

    cycle(0)
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(1, 11):
        cycle(number)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads
    patience = time.monotonic() + 10  # the kernel reaps a thread a little after its end
    while len(os.listdir("/proc/self/task")) > threads and time.monotonic() < patience:
        time.sleep(0.01)
    assert len(os.listdir("/proc/self/task")) == threads


def test_report_during_stop_from_another_thread(signals: str) -> None:
    prof = Profiler(simulate=signals)
    prof.start()
    time.sleep(0.2)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            for _ in range(30):
                prof.report()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    prof.stop()
    thread.join()
    assert failures == []


def test_stages_of_threads_are_in_the_report(signals: str) -> None:
    with Profiler(simulate=signals) as prof:

        def work() -> None:
            for _ in range(100):
                with prof.stage("worker"):
                    pass

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert prof.report().stages["worker"].count == 400


def test_existing_output_is_refused_and_left_alone(signals: str, tmp_path: Path) -> None:
    out = tmp_path / "run.pyprof"
    out.write_text("precious", encoding="utf-8")
    with pytest.raises(UsageError, match="exists"):
        Profiler(out=out, simulate=signals).start()
    assert out.read_text(encoding="utf-8") == "precious"
    with Profiler(simulate=signals):  # and the refusal left nothing half started behind
        time.sleep(0.05)


def test_symbolic_link_is_refused(signals: str, tmp_path: Path) -> None:
    out = tmp_path / "run.pyprof"
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="symbolic link"):
        Profiler(out=out, simulate=signals).start()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"phase": "testing"}, "development, training, deployment"),
        ({"pace": "fast"}, "default, fine, finest"),
        ({"budget": 101.0}, "budget"),
        ({"interval": 0.0}, "between"),
        ({"interval": -1.0}, "between"),
        ({"pue": 0.5}, "pue"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(PyprofError, match=sentence):
        Profiler(**arguments)  # type: ignore[arg-type]


def test_unknown_zone_is_refused_before_the_work() -> None:
    with pytest.raises(UnknownZoneError):
        Profiler(zone="Atlantis")


def test_unknown_source_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="crystal"):
        Profiler(sources=["crystal"]).start()


def test_report_before_start_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="start"):
        Profiler().report()


def test_zone_prices_the_report(signals: str) -> None:
    with Profiler(simulate=signals, zone="FR") as prof:
        time.sleep(0.2)
    first = prof.report()
    assert first.footprint is not None
    other = prof.report(zone="PL")
    assert other.footprint is not None
    assert other.to_dict()["footprint"]["kg_co2e"] > first.to_dict()["footprint"]["kg_co2e"]


def test_unwritable_folder_costs_one_line_and_no_energy(
    signals: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Profiler(out=tmp_path / "missing" / "run.pyprof", simulate=signals) as prof:
        time.sleep(0.3)
    assert prof.report().energy_j == pytest.approx(TOTAL_W * 0.3, rel=0.2)
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "can't be written" in err


def test_folder_that_vanishes_costs_one_line_and_no_energy(
    signals: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with Profiler(out=folder / "run.pyprof", simulate=signals) as prof:
        with prof.stage("before"):
            time.sleep(0.7)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        with prof.stage("after"):
            time.sleep(0.7)
    report = prof.report()
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.02)
    assert {"before", "after"} <= set(report.stages)
    assert capfd.readouterr().err.count("\n") == 1


def test_forgotten_stop_leaves_a_whole_recording(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = """
        import time
        from pyprof.profiler import Profiler
        prof = Profiler(out="run.pyprof", simulate="signals.toml")
        prof.start()
        with prof.stage("work"):
            time.sleep(0.3)
    """
    began = time.monotonic()
    run_script(tmp_path, script)
    assert time.monotonic() - began < 20
    recording = pyprof.load(tmp_path / "run.pyprof")
    assert recording.complete
    assert recording.report().stages["work"].count == 1


def test_a_multiprocessing_child_may_have_a_profiler(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = """
        import multiprocessing, time
        from pyprof.profiler import Profiler

        def work():
            prof = Profiler(out="run.pyprof", simulate="signals.toml")
            prof.start()
            time.sleep(0.3)

        if __name__ == "__main__":
            child = multiprocessing.get_context("fork").Process(target=work)
            child.start()
            child.join()
            print(child.exitcode)
    """
    assert run_script(tmp_path, script) == "0\n"
    assert pyprof.load(tmp_path / "run.pyprof").complete


def test_bytes_without_readings_are_no_zero(tmp_path: Path) -> None:
    with Profiler(sources=["nvml"], nvml=str(tmp_path / "absent.so")) as prof:
        time.sleep(0.05)
    report = prof.report()
    assert report.energy_j is None
    assert report.total.by_quality == {}
