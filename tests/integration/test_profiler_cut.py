"""Recordings whose process was killed, or whose disk failed: what was written stays good."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from profiler_script import TOTAL_W, start_script, write_signals
from soak.simulated import head_of

import pyprof
from pyprof.errors import RecordingError
from pyprof.store import Batch, Store
from pyprof.writer import Writer

KILLED = """
import sys, threading, time
import pyprof
prof = pyprof.Profiler(out="run.pyprof", simulate="signals.toml")
prof.start()
print("ready", flush=True)
while True:
    with prof.stage("step"):
        time.sleep(0.01)
"""

# Commits as fast as the disk takes them, so that most kills hit one.
BUSY = KILLED.replace("        time.sleep(0.01)", "        prof._session.flush()")


@pytest.mark.parametrize("script", [KILLED, BUSY], ids=["paced", "busy"])
def test_killed_at_random_instants(tmp_path: Path, script: str) -> None:
    chance = random.Random(20260)
    # A life of less than the half second between two commits is recorded as well.
    lives_s = (0.4, 0.4, *(chance.uniform(0.0, 1.5) for _ in range(8)))
    short_s = []
    for number, life_s in enumerate(lives_s):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_signals(folder)
        process = start_script(folder, script)
        assert process.stdout is not None
        process.stdout.readline()
        began = time.monotonic()
        time.sleep(life_s)
        lived_s = time.monotonic() - began
        process.kill()
        process.communicate()
        recording = pyprof.load(folder / "run.pyprof")
        assert recording.defects == ()
        assert not recording.complete
        assert not recording.live
        report = recording.report()
        assert not report.run.complete
        assert report.run.duration_s > lived_s - 1.0
        if lived_s < 0.5:
            short_s.append(report.run.duration_s)
        if report.run.duration_s > 0.3:
            assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.05)
    assert max(short_s) > 0.05


def test_a_flush_does_not_put_off_the_commits_after_it() -> None:
    collected: list[float] = []

    def collect() -> Batch:
        collected.append(time.monotonic())
        return Batch(0)

    writer = Writer(lambda: Store(None, head_of([])), collect)
    writer.start()
    try:
        for _ in range(40):
            assert writer.flush()
        flushed = len(collected)
        until = time.monotonic() + 10
        while len(collected) == flushed:
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        writer.post(lambda made: made.close())
        writer.stop()


def test_a_commit_cut_in_two_is_undone_without_changing_the_file(tmp_path: Path) -> None:
    """A journal left behind is hot: the reader must mend a copy, even in a read-only folder."""
    write_signals(tmp_path)
    for attempt in range(40):
        out = tmp_path / "run.pyprof"
        process = start_script(tmp_path, BUSY)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05 + 0.005 * attempt)
        process.kill()
        process.communicate()
        if (tmp_path / "run.pyprof-journal").exists():
            break
        out.unlink()
    else:
        pytest.skip("no kill hit a commit")
    before = out.read_bytes()
    assert pyprof.load(out).defects == ()
    assert out.read_bytes() == before
    assert (tmp_path / "run.pyprof-journal").exists()


WORKLOAD = """
import sys, time
import pyprof
prof = pyprof.Profiler(out=sys.argv[1] if len(sys.argv) > 1 else "run.pyprof",
                       simulate="signals.toml", interval=0.001)
with prof:
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        for _ in range(20):
            with prof.stage("step"):
                pass
        time.sleep(0.0005)
report = prof.report()
print(report.energy_j / report.run.duration_s)
"""


def check_survived(folder: Path, process: subprocess.Popen[str], out: Path) -> None:
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert stderr.count("\n") == 1, stderr
    assert "going on in memory" in stderr
    assert float(stdout) == pytest.approx(TOTAL_W, rel=0.02)
    left = pyprof.load(out)
    assert left.defects == ()
    assert not left.complete
    report = left.report()
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.2, abs=40)


def test_file_size_limit(tmp_path: Path) -> None:
    write_signals(tmp_path)
    limited = (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (327680, 327680))\n" + WORKLOAD
    )
    check_survived(tmp_path, start_script(tmp_path, limited), tmp_path / "run.pyprof")


def test_file_size_limit_does_not_kill_a_workload_with_the_default_action(tmp_path: Path) -> None:
    write_signals(tmp_path)
    limited = (
        "import resource, signal\nresource.setrlimit(resource.RLIMIT_FSIZE, (327680, 327680))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n" + WORKLOAD
    )
    check_survived(tmp_path, start_script(tmp_path, limited), tmp_path / "run.pyprof")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=320k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_full_disk(tmp_path: Path, small_disk: Path) -> None:
    write_signals(tmp_path)
    script = WORKLOAD.replace('"run.pyprof"', repr(str(small_disk / "run.pyprof")))
    check_survived(tmp_path, start_script(tmp_path, script), small_disk / "run.pyprof")


def test_full_disk_from_the_start(tmp_path: Path, small_disk: Path) -> None:
    write_signals(tmp_path)
    (small_disk / "filler").write_bytes(b"x" * (300 << 10))
    script = WORKLOAD.replace('"run.pyprof"', repr(str(small_disk / "run.pyprof")))
    stdout, stderr = start_script(tmp_path, script).communicate(timeout=60)
    assert stderr.count("\n") == 1, stderr
    assert float(stdout) == pytest.approx(TOTAL_W, rel=0.02)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_foreign_reader_that_holds_the_file_costs_no_sample(tmp_path: Path) -> None:
    write_signals(tmp_path)
    script = """
import sqlite3, time, subprocess, sys
import pyprof
HOLD = '''
import sqlite3, time
c = sqlite3.connect("run.pyprof", isolation_level=None)
c.execute("BEGIN"); c.execute("SELECT count(*) FROM tail").fetchall()
print("held", flush=True)
time.sleep(1.5)
'''
with pyprof.Profiler(out="run.pyprof", simulate="signals.toml") as prof:
    time.sleep(0.6)
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
    holder.stdout.readline()
    with prof.stage("held"):
        time.sleep(0.7)
    holder.wait()
    holder.stdout.close()
    time.sleep(0.7)
"""
    process = start_script(tmp_path, script)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    report = pyprof.load(tmp_path / "run.pyprof").report()
    assert report.run.complete
    assert report.stages["held"].count == 1
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.01)


def test_live_recording_is_read_by_another_process(tmp_path: Path) -> None:
    write_signals(tmp_path)
    process = start_script(tmp_path, KILLED)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.2)
    recording = pyprof.load(tmp_path / "run.pyprof")
    assert recording.live
    assert recording.report().stages["step"].count > 10
    process.kill()
    process.communicate()
    with pytest.raises(RecordingError):
        pyprof.load(tmp_path / "nothing.pyprof")
