"""Forks of a process that measures: its recording stays whole, its child measures nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from profiler_script import TOTAL_W, run_script, write_signals

import pyprof

HEADER = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import pyprof
from pyprof.errors import UsageError
"""


def test_forks_with_live_sampler_and_writer(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = (
        HEADER
        + """
with pyprof.Profiler(out="run.pyprof", simulate="signals.toml") as prof:
    bad = 0
    for number in range(100):
        with prof.stage("parent"):
            pid = os.fork()
            if pid == 0:
                with pyprof.stage("child"):
                    pass
                sys.exit(0)  # a normal end: every finaliser runs
            bad += os.waitpid(pid, 0)[1] != 0
print(bad, prof.report().stages["parent"].count)
"""
    )
    assert run_script(tmp_path, script) == "0 100\n"
    recording = pyprof.load(tmp_path / "run.pyprof")
    report = recording.report()
    assert recording.defects == ()
    assert "child" not in report.stages
    assert report.stages["parent"].count == 100
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.01)


def test_fork_while_the_writer_commits_all_the_time(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = (
        HEADER
        + """
with pyprof.Profiler(out="run.pyprof", simulate="signals.toml") as prof:
    ending = threading.Event()
    def flush():
        while not ending.is_set():
            with prof.stage("busy"):
                prof._session.flush()
    thread = threading.Thread(target=flush)
    thread.start()
    bad = 0
    for number in range(60):
        pid = os.fork()
        if pid == 0:
            sys.exit(0)
        bad += os.waitpid(pid, 0)[1] != 0
    ending.set()
    thread.join()
print(bad)
"""
    )
    assert run_script(tmp_path, script) == "0\n"
    recording = pyprof.load(tmp_path / "run.pyprof")
    assert recording.complete
    assert recording.defects == ()


def test_inherited_profiler_does_nothing_in_the_child(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = (
        HEADER
        + """
prof = pyprof.Profiler(out="run.pyprof", simulate="signals.toml")
prof.start()
pid = os.fork()
if pid == 0:
    prof.stop()
    try:
        prof.report()
    except UsageError as error:
        print(error, flush=True)
    print([t.name for t in threading.enumerate()], flush=True)
    os._exit(0)
os.waitpid(pid, 0)
time.sleep(0.2)
prof.stop()
"""
    )
    out = run_script(tmp_path, script)
    assert "belongs to the process that started it" in out
    assert "pyprof" not in out.splitlines()[-1]
    assert pyprof.load(tmp_path / "run.pyprof").complete


def test_child_may_measure_for_itself(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = (
        HEADER
        + """
prof = pyprof.Profiler(simulate="signals.toml")
prof.start()
pid = os.fork()
if pid == 0:
    with pyprof.Profiler(out="child.pyprof", simulate="signals.toml") as own:
        with pyprof.stage("child"):
            time.sleep(0.2)
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
prof.stop()
print("child" in prof.report().stages)
"""
    )
    assert run_script(tmp_path, script) == "False\n"
    report = pyprof.load(tmp_path / "child.pyprof").report()
    assert report.stages["child"].count == 1
    assert report.run.complete


def test_child_outlives_its_parent_without_holding_the_recording(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = (
        HEADER
        + """
prof = pyprof.Profiler(out="run.pyprof", simulate="signals.toml")
prof.start()
pid = os.fork()
if pid == 0:
    os.close(1), os.close(2)
    time.sleep(3)
    os._exit(0)
prof.stop()
"""
    )
    run_script(tmp_path, script)
    assert not pyprof.load(tmp_path / "run.pyprof").live


def test_a_recording_is_whole_where_os_exit_ends_the_process(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = (
        HEADER
        + """
prof = pyprof.Profiler(out="run.pyprof", simulate="signals.toml")
prof.start()
with pyprof.stage("work"):
    time.sleep(0.2)
sys.stdout.flush()
os._exit(0)
"""
    )
    run_script(tmp_path, script)
    report = pyprof.load(tmp_path / "run.pyprof").report()
    assert report.run.complete
    assert report.stages["work"].count == 1
