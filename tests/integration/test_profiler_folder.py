"""A run of many processes: each writes its stages, one samples, one report joins them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from profiler_script import TOTAL_W, start_script, write_signals
from soak.simulated import head_of

import pyprof
from pyprof import runfolder
from pyprof.errors import RecordingError, UsageError
from pyprof.hardware import Look
from pyprof.joining import join
from pyprof.loading import load_file
from pyprof.session import Session
from pyprof.store import Store


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    look = Look(simulate=str(write_signals(tmp_path)))
    session = Session(look, out=tmp_path / "run.pyprof", phase="development", folder=True)
    session.start()
    yield session
    session.stop()


def run_in(session: Session, folder: Path, text: str) -> str:
    process = start_script(folder, text, session.environment)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


def test_stages_of_a_child_are_in_the_run(session: Session, tmp_path: Path) -> None:
    script = """
        import pyprof, time
        with pyprof.stage("load"):
            time.sleep(0.3)
        with pyprof.stage("train", phase="training"):
            time.sleep(0.3)
    """
    run_in(session, tmp_path, script)
    session.stop(exit_status=0)
    assert session.fold() == tmp_path / "run.pyprof"
    assert not (tmp_path / "run.pyprof.d").exists()
    recording = pyprof.load(tmp_path / "run.pyprof")
    report = recording.report()
    assert [process.role for process in recording.processes] == ["sampler", "stages"]
    assert report.run.complete
    assert report.run.exit_status == 0
    assert report.stages["load"].phase == "development"
    assert report.stages["train"].phase == "training"
    assert report.stages["train"].energy_j == pytest.approx(TOTAL_W * 0.3, rel=0.1)
    assert report.to_dict() == session.recording.report().to_dict()


def test_a_child_that_leaves_by_os_exit_keeps_its_stages(session: Session, tmp_path: Path) -> None:
    script = """
        import os, time, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import pyprof
        for status in (0, 7):
            pid = os.fork()
            if pid == 0:
                with pyprof.stage(f"child {status}"):
                    time.sleep(0.1)
                os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
        with pyprof.stage("parent"):
            pid = os.fork()
            if pid == 0:
                os._exit(0)  # has nothing to write, and leaves its parent's stages alone
            os.waitpid(pid, 0)
        os._exit(0)
    """
    run_in(session, tmp_path, script)
    session.stop()
    stages = session.recording.report().stages
    assert {path: (stages[path].count, stages[path].cut) for path in stages if path} == {
        "child 0": (1, False),
        "child 7": (1, False),
        "parent": (1, False),
    }


def test_fork_spawn_subprocess_and_pool_all_join(session: Session, tmp_path: Path) -> None:
    script = """
        import multiprocessing, os, subprocess, sys, time, warnings
        from concurrent.futures import ProcessPoolExecutor
        warnings.simplefilter("ignore", DeprecationWarning)
        import pyprof

        def work(name):
            with pyprof.stage(name):
                time.sleep(0.05)

        if __name__ == "__main__":
            with pyprof.stage("main"):
                for method in ("fork", "spawn", "forkserver"):
                    child = multiprocessing.get_context(method).Process(target=work, args=(method,))
                    child.start()
                    child.join()
                    assert child.exitcode == 0
                code = "import pyprof\\nwith pyprof.stage('subprocess'): pass"
                subprocess.run([sys.executable, "-c", code], check=True)
                pid = os.fork()
                if pid == 0:
                    work("bare fork")
                    sys.exit(0)
                assert os.waitpid(pid, 0)[1] == 0
                with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
                    list(pool.map(work, ["pool"] * 8))
    """
    run_in(session, tmp_path, script)
    session.stop()
    session.fold()
    report = pyprof.load(tmp_path / "run.pyprof").report()
    once = {"main", "fork", "spawn", "forkserver", "subprocess", "bare fork"}
    assert {path: report.stages[path].count for path in once} == dict.fromkeys(once, 1)
    assert report.stages["pool"].count == 8
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.01)


def test_exec_keeps_the_stages_before_and_after(session: Session, tmp_path: Path) -> None:
    script = """
        import os, sys, time
        import pyprof
        if len(sys.argv) == 1:
            with pyprof.stage("before"):
                pass
            time.sleep(0.8)
            os.execv(sys.executable, [sys.executable, __file__, "again"])
        with pyprof.stage("after"):
            pass
    """
    run_in(session, tmp_path, script)
    assert {"before", "after"} <= set(session.recording.report().stages)


def test_process_without_stages_writes_no_file(session: Session, tmp_path: Path) -> None:
    run_in(session, tmp_path, "import pyprof\npyprof.stage('made, never entered')")
    files = [file.name for file in (tmp_path / "run.pyprof.d").glob("*.pyprof")]
    assert files == ["node.pyprof"]


def test_profiler_inside_a_run_samples_nothing_and_reports(
    session: Session, tmp_path: Path
) -> None:
    script = """
        import time, threading, os
        import pyprof
        time.sleep(0.3)
        with pyprof.Profiler() as prof:
            with prof.stage("own"):
                time.sleep(0.5)
            live = prof.report()
        report = prof.report()
        print([c for c in os.listdir("/proc/self/task")].__len__())
        print(report.energy_j / report.run.duration_s, report.run.duration_s)
        print(report.stages["own"].count, live.stages["own"].count)
    """
    threads, power, counts = run_in(session, tmp_path, script).splitlines()
    assert int(threads) == 2  # the main one and the writer: no sampler
    mean_w, duration_s = (float(word) for word in power.split())
    assert mean_w == pytest.approx(TOTAL_W, rel=0.1)
    assert 0.45 < duration_s < 3.0
    assert counts == "1 1"


def test_file_of_a_profiler_inside_a_run_is_refused_in_one_line(
    session: Session, tmp_path: Path
) -> None:
    script = "import pyprof\nwith pyprof.Profiler(out='own.pyprof') as p: pass"
    process = start_script(tmp_path, script, session.environment)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err.count("\n") == 1
    assert "own.pyprof is not written" in err
    assert not (tmp_path / "own.pyprof").exists()


@pytest.mark.parametrize("state", ["missing", "vanishing", "unwritable"])
def test_a_folder_that_is_no_use_never_harms_the_workload(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "run.pyprof.d"
    script = """
        import shutil, sys, time
        import pyprof
        for number in range(20):
            with pyprof.stage("step"):
                time.sleep(0.05)
            if number == 12 and "vanishing" in sys.argv:
                shutil.rmtree(sys.argv[1])
        print("done")
    """
    if state == "unwritable":
        folder.write_text("a file, not a folder", encoding="utf-8")
    elif state == "vanishing":
        folder.mkdir()
    script = script.replace("sys.argv[1]", repr(str(folder)))
    script = script.replace("sys.argv", repr([state]))
    process = start_script(tmp_path, script, runfolder.environment(folder, "training"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "done\n")
    assert err.count("\n") <= 1


def test_killed_worker_loses_at_most_its_last_second(session: Session, tmp_path: Path) -> None:
    script = """
        import time
        import pyprof
        with pyprof.stage("epoch"):
            for _ in range(1000):
                with pyprof.stage("step"):
                    time.sleep(0.01)
    """
    process = start_script(tmp_path, script, session.environment)
    time.sleep(2.5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    session.stop(signal=signal.SIGKILL)
    session.fold()
    report = pyprof.load(tmp_path / "run.pyprof").report()
    assert report.run.complete
    assert (report.run.exit_status, report.run.signal) == (None, 9)
    assert report.stages["epoch"].cut
    assert report.stages["epoch/step"].count > 50


def test_folder_of_a_killed_run_is_read_and_folded(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = """
        import os, subprocess, sys, time
        from pathlib import Path
        from pyprof.hardware import Look
        from pyprof.session import Session
        session = Session(Look(simulate="signals.toml"), out=Path("run.pyprof"), folder=True)
        session.start()
        code = "import pyprof, time\\nwith pyprof.stage('work'): time.sleep(0.6)"
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **session.environment})
        time.sleep(0.7)
        os.kill(os.getpid(), 9)
    """
    process = start_script(tmp_path, script)
    process.communicate(timeout=60)
    out = tmp_path / "run.pyprof"
    assert not out.exists()
    joined = pyprof.load(out)  # the folder stands for the file that was never made
    report = joined.report()
    assert not report.run.complete
    assert report.stages["work"].count == 1
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.02)
    assert pyprof.load(tmp_path / "run.pyprof.d").report() == report
    folded = pyprof.load(runfolder.fold(tmp_path / "run.pyprof.d", out)).report()
    assert folded.energy_j == report.energy_j
    assert folded.stages["work"] == report.stages["work"]
    assert not (tmp_path / "run.pyprof.d").exists()


def test_folder_of_a_running_run_is_not_folded(session: Session, tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from pyprof.errors import UsageError
        from pyprof import runfolder
        try:
            runfolder.fold(Path({str(session.folder)!r}), Path("other.pyprof"))
        except UsageError as error:
            print(error)
    """
    process = start_script(tmp_path, script)
    out, _ = process.communicate(timeout=60)
    assert "still being recorded" in out
    with pytest.raises(UsageError, match="still being recorded"):
        runfolder.fold(tmp_path / "run.pyprof.d", tmp_path / "other.pyprof")


def test_second_run_of_the_same_name_is_refused(session: Session, tmp_path: Path) -> None:
    look = Look(simulate=str(tmp_path / "signals.toml"))
    for overwrite in (False, True):
        other = Session(look, out=tmp_path / "run.pyprof", folder=True, overwrite=overwrite)
        with pytest.raises(UsageError, match="being recorded right now"):
            other.start()
    assert session.running


def test_an_earlier_shared_run_is_no_part_of_a_later_one(tmp_path: Path) -> None:
    folder = tmp_path / "run.pyprof.d"
    folder.mkdir()
    Store(folder / "node-1-1.pyprof", head_of([])).close()
    runfolder.share(folder)  # others of the run may have ended a moment ago
    long_ago = time.time() - 60
    os.utime(folder / "node-1-1.pyprof", (long_ago, long_ago))
    with pytest.raises(UsageError, match="left of an earlier run"):
        runfolder.share(folder)
    guard = Store(folder / "stages-2-2.pyprof", head_of([]))
    runfolder.share(folder)
    guard.close()
    (tmp_path / "run.pyprof").touch()
    with pytest.raises(UsageError, match="exists"):
        runfolder.share(folder)


def test_output_that_cannot_be_written_still_reports(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    look = Look(simulate=str(write_signals(tmp_path)))
    session = Session(look, out=tmp_path / "missing" / "run.pyprof", folder=True)
    session.start()
    script = "import pyprof, time\nwith pyprof.stage('work'): time.sleep(0.3)"
    run_in(session, tmp_path, script)
    session.stop(exit_status=3)
    assert session.fold() is None
    report = session.recording.report()
    assert report.run.exit_status == 3
    assert report.stages["work"].count == 1
    assert session.folder is not None
    assert not session.folder.exists()
    assert capfd.readouterr().err.count("\n") == 1


def test_folder_that_vanishes_under_the_sampler(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    look = Look(simulate=str(write_signals(tmp_path)))
    session = Session(look, out=tmp_path / "run.pyprof", folder=True)
    session.start()
    time.sleep(0.7)
    shutil.rmtree(tmp_path / "run.pyprof.d")
    time.sleep(0.7)
    session.stop()
    assert session.fold() is None
    report = session.recording.report()
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.02)
    assert capfd.readouterr().err.count("\n") == 1


def test_stages_count_once_when_the_sampler_lost_its_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    look = Look(simulate=str(write_signals(tmp_path)))
    session = Session(look, out=tmp_path / "run.pyprof", folder=True)
    session.start()
    run_in(session, tmp_path, "import pyprof\nwith pyprof.stage('work'): pass")
    (tmp_path / "run.pyprof.d" / "node.pyprof").unlink()
    time.sleep(0.7)
    session.stop()
    assert session.recording.report().stages["work"].count == 1
    assert session.fold() is None
    assert session.recording.report().stages["work"].count == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_times_of_another_time_namespace_are_shifted(session: Session, tmp_path: Path) -> None:
    run_in(session, tmp_path, "import pyprof, time\nwith pyprof.stage('x'): time.sleep(0.3)")
    session.stop()
    assert session.folder is not None
    (own,) = session.folder.glob("stages-*")
    node, other = load_file(session.folder / "node.pyprof"), load_file(own)
    hour_ns = 3600 * 10**9
    (process,) = other.processes
    shifted = replace(other, processes=(replace(process, offset_ns=hour_ns),))
    later = replace(node, processes=(replace(node.processes[0], offset_ns=hour_ns),))
    assert "x" not in join(node, [shifted]).report().stages  # an hour before the run, cut away
    assert join(later, [shifted]).report().stages["x"].wall_s == pytest.approx(0.3, abs=0.1)


def test_stages_of_another_boot_are_left_out_and_said(session: Session, tmp_path: Path) -> None:
    run_in(session, tmp_path, "import pyprof\nwith pyprof.stage('x'): pass")
    session.stop()
    assert session.folder is not None
    node = pyprof.load(session.folder)
    (own,) = session.folder.glob("stages-*")
    other = load_file(own)
    foreign = replace(
        other, processes=tuple(replace(p, boot_id="another") for p in other.processes)
    )
    report = join(load_file(session.folder / "node.pyprof"), [foreign]).report()
    assert "x" not in report.stages
    assert any("of another boot" in event.text for event in report.events)
    assert node.report().stages["x"].count == 1


def test_folder_without_a_sampler_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"node\.pyprof"):
        pyprof.load(tmp_path)


def test_import_and_inactive_stage_leave_the_environment_alone(tmp_path: Path) -> None:
    code = (
        "import pyprof\nwith pyprof.stage('x'): pass\nimport sys\nprint('sqlite3' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "False\n"
    assert os.listdir(tmp_path) == []
