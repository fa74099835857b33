"""What is left when pyprof itself dies, and that no failure of one step hinders the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import CONSTANT_W, PYPROF, plain_environment, pyprof, report_of, simulated

STAGES = """
import pathlib, sys, time, pyprof
with pyprof.stage("outer"):
    for _ in range(int(sys.argv[1])):
        with pyprof.stage("inner"):
            time.sleep(0.05)
"""
LEFT_ALONE_S = 20


def start(folder: Path, rounds: int) -> subprocess.Popen[str]:
    (folder / "work.py").write_text(STAGES)
    words = simulated(folder, "-o", "run.pyprof", "--", sys.executable, "work.py", str(rounds))
    return subprocess.Popen(
        (*PYPROF, *map(str, words)), cwd=folder, env=plain_environment(), text=True
    )


def kill_after_stages(running: subprocess.Popen[str], folder: Path) -> None:
    """SIGKILL, once the stages and a second of readings are on the disk."""
    until = time.monotonic() + LEFT_ALONE_S
    while not list((folder / "run.pyprof.d").glob("stages-*")) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.5)
    running.kill()
    running.wait()


def wait_for_child(folder: Path) -> None:
    """The command goes on unharmed; the end of its stages is in its own file."""
    (stages,) = (folder / "run.pyprof.d").glob("stages-*.pyprof")
    until = time.monotonic() + LEFT_ALONE_S
    while time.monotonic() < until:
        if report_of(folder, str(stages))["run"]["complete"]:
            return
        time.sleep(0.1)
    pytest.fail("the command did not end")


def test_the_remains_of_a_killed_run_become_its_recording(tmp_path: Path) -> None:
    kill_after_stages(start(tmp_path, 60), tmp_path)
    running = report_of(tmp_path)
    assert (tmp_path / "run.pyprof.d").is_dir(), "folded while a process still wrote to it"
    wait_for_child(tmp_path)
    done = pyprof("report", "run.pyprof", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cut short" in done.stderr
    assert not (tmp_path / "run.pyprof.d").exists()
    first, again = json.loads(done.stdout), report_of(tmp_path)
    assert first == again
    assert running["run"]["complete"] is again["run"]["complete"] is False
    assert again["run"]["exit_status"] is again["run"]["signal"] is None
    assert {row["path"] for row in again["stages"]} == {"", "outer", "outer/inner"}
    energy_j, length_s = again["total"]["energy_j"], again["run"]["duration_s"]
    assert length_s > 0.5
    assert energy_j == pytest.approx(CONSTANT_W * length_s, rel=0.02)
    assert all(value is None for value in again["overhead"].values())


def test_the_folder_itself_is_a_name_of_the_recording(tmp_path: Path) -> None:
    kill_after_stages(start(tmp_path, 60), tmp_path)
    wait_for_child(tmp_path)
    for _ in range(2):  # the second time it is no folder any more
        assert report_of(tmp_path, "run.pyprof.d")["run"]["complete"] is False
        assert (tmp_path / "run.pyprof").is_file()
        assert not (tmp_path / "run.pyprof.d").exists()


def test_a_run_that_goes_on_is_reported_and_left_alone(tmp_path: Path) -> None:
    running = start(tmp_path, 40)
    until = time.monotonic() + LEFT_ALONE_S
    while not list(tmp_path.glob("run.pyprof.d/stages-*")) and time.monotonic() < until:
        time.sleep(0.05)
    assert report_of(tmp_path)["run"]["complete"] is False
    assert running.wait(timeout=LEFT_ALONE_S) == 0
    assert report_of(tmp_path)["run"]["complete"] is True


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_where_nothing_may_be_written_the_folder_is_read(tmp_path: Path) -> None:
    kill_after_stages(start(tmp_path, 60), tmp_path)
    wait_for_child(tmp_path)
    tmp_path.chmod(0o500)
    try:
        assert report_of(tmp_path)["run"]["complete"] is False
        assert (tmp_path / "run.pyprof.d").is_dir()
    finally:
        tmp_path.chmod(0o700)


BROKEN = """
import sys
import pyprof.{module} as broken
def fail(*args, **kwargs):
    raise RuntimeError("broken on purpose")
broken.{name} = fail
from pyprof.cli import main
raise SystemExit(main(sys.argv[1:]))
"""


def run_broken(folder: Path, module: str, name: str) -> subprocess.CompletedProcess[str]:
    words = ("-o", "run.pyprof", "--json", "run.json", "--zone", "FR", "--", "sh", "-c", "exit 3")
    code = BROKEN.format(module=module, name=name)
    return pyprof(*simulated(folder, *words), cwd=folder, module=(sys.executable, "-c", code))


def test_a_report_that_fails_leaves_the_recording_whole(tmp_path: Path) -> None:
    done = run_broken(tmp_path, "integrate", "report")
    assert done.returncode == 3
    assert "the report could not be made (RuntimeError: broken on purpose)" in done.stderr
    assert "recorded in run.pyprof" in done.stderr
    assert not (tmp_path / "run.pyprof.d").exists()
    assert report_of(tmp_path)["run"]["complete"] is True


def test_a_recording_that_can_not_be_folded_is_still_reported(tmp_path: Path) -> None:
    done = run_broken(tmp_path, "runfolder", "fold")
    assert done.returncode == 3
    assert "the recording stays in its folder (RuntimeError: broken on purpose)" in done.stderr
    assert "Energy" in done.stderr
    assert json.loads((tmp_path / "run.json").read_text())["run"]["exit_status"] == 3
    assert report_of(tmp_path)["run"]["complete"] is True
    assert (tmp_path / "run.pyprof").is_file()


def test_carbon_that_fails_costs_the_carbon_alone(tmp_path: Path) -> None:
    done = run_broken(tmp_path, "recording", "price")
    assert done.returncode == 3
    assert "the carbon could not be computed (RuntimeError: broken on purpose)" in done.stderr
    assert "Energy" in done.stderr
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["footprint"] is None
    assert document["total"]["energy_j"] > 0


def test_a_second_interrupt_leaves_the_recording(tmp_path: Path) -> None:
    code = BROKEN.replace('RuntimeError("broken on purpose")', "KeyboardInterrupt")
    words = simulated(tmp_path, "-o", "run.pyprof", "--", "sh", "-c", "exit 3")
    module = (sys.executable, "-c", code.format(module="integrate", name="report"))
    done = pyprof(*words, cwd=tmp_path, module=module)
    assert done.returncode == 3
    assert "pyprof report run.pyprof" in done.stderr
    assert "Traceback" not in done.stderr
    assert report_of(tmp_path)["run"]["complete"] is True


def test_a_full_disk_behind_stdout_is_one_sentence(tmp_path: Path) -> None:
    assert pyprof(*simulated(tmp_path, "-q", "-o", "run.pyprof", "true"), cwd=tmp_path).stderr == ""
    for words, status in (
        (("report", "run.pyprof"), 2),
        (("report", "run.pyprof", "--json"), 2),
        (("run", "-q", "--json", "-", "--", "true"), 0),
    ):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                (*PYPROF, *words),
                cwd=tmp_path,
                env=plain_environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )
        assert done.returncode == status, done.stderr
        assert done.stderr.count("\n") == 1
        assert "can't be written: No space left on device" in done.stderr


def test_a_signal_that_kills_the_command_is_kept(tmp_path: Path) -> None:
    done = pyprof(*simulated(tmp_path, "-o", "run.pyprof", "sh", "-c", "kill -9 $$"), cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL
    run = report_of(tmp_path)["run"]
    assert (run["exit_status"], run["signal"], run["complete"]) == (None, signal.SIGKILL, True)
