"""Disks that fail: each kind of failure really happens, and the workload does not notice."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from profiler_script import TOTAL_W, start_script, write_signals
from soak import disk

import pyprof

needs_compiler = pytest.mark.skipif(
    not (shutil.which("cc") or shutil.which("gcc")), reason="a fault needs a C compiler"
)
WORKLOAD = """
import sys, time
import pyprof
prof = pyprof.Profiler(out="run.pyprof", simulate="signals.toml", fallback_dir={fallback!r})
with prof:
    for _ in range(12):
        with prof.stage("step"):
            time.sleep(0.1)
report = prof.report()
print(report.energy_j / report.run.duration_s, report.stages["step"].count)
sys.exit(7)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk.build(tmp_path_factory.mktemp("faults"))


@needs_compiler
@pytest.mark.parametrize("first", [40, 90])
@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, disk.SHORT])
def test_a_failing_disk_costs_one_line(
    kind: int, first: int, tmp_path: Path, library: Path
) -> None:
    write_signals(tmp_path)
    environment = {"LD_PRELOAD": str(library), "DISK_FAULT": f"{kind} {first} {1 << 40}"}
    process = start_script(tmp_path, WORKLOAD.format(fallback=None), environment)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 7
    if kind == disk.SHORT:  # the rest is written by a second call
        assert stderr == ""
        assert pyprof.load(tmp_path / "run.pyprof").complete
    else:
        assert stderr.count("\n") == 1, stderr
        assert "can't be written" in stderr
    mean_w, count = stdout.split()
    assert float(mean_w) == pytest.approx(TOTAL_W, rel=0.03)
    assert int(count) == 12


@needs_compiler
def test_the_recording_goes_on_in_another_place(tmp_path: Path, library: Path) -> None:
    write_signals(tmp_path)
    environment = {"LD_PRELOAD": str(library), "DISK_FAULT": f"{errno.ENOSPC} 60 1"}
    process = start_script(tmp_path, WORKLOAD.format(fallback="other"), environment)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 7
    assert stderr.count("\n") == 1, stderr
    if "going on in memory" in stderr:
        pytest.fail(stderr)
    recording = pyprof.load(tmp_path / "other" / "run.pyprof")
    assert recording.defects == ()
    assert recording.complete
    report = recording.report()
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.03)
    assert report.stages["step"].count == 12


@needs_compiler
def test_a_slow_disk_holds_nothing_up(tmp_path: Path, library: Path) -> None:
    """Each write takes a second: the work does not wait for them, no reading is lost."""
    write_signals(tmp_path)
    script = """
import time
import pyprof
began = time.monotonic()
prof = pyprof.Profiler(out="run.pyprof", simulate="signals.toml")
prof.start()
started_s = time.monotonic() - began
began = time.monotonic()
for _ in range(200):
    with prof.stage("step"):
        time.sleep(0.005)
print(started_s, time.monotonic() - began)
"""
    environment = {"LD_PRELOAD": str(library), "DISK_FAULT": f"{disk.SLOW} 1 {1 << 40}"}
    process = start_script(tmp_path, script + "import os; os._exit(0)\n", environment)
    stdout, _ = process.communicate(timeout=60)
    started_s, worked_s = map(float, stdout.split())
    assert started_s < 4.0
    assert worked_s < 3.0


@needs_compiler
@pytest.mark.parametrize("words", [["--fault", "ENOSPC"], ["--fault", "short", "--fallback"]])
def test_writes_failing_in_turn(words: list[str], tmp_path: Path) -> None:
    tools = Path(disk.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "soak.disk", "--step", "53", *words],
        cwd=tools,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ", 0 harmed" in done.stdout


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that others may enter; pytest's own is closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_folder_that_may_not_be_written(open_path: Path) -> None:
    """As another user: for root nothing is read-only."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    tmp_path = open_path
    write_signals(tmp_path)
    (tmp_path / "other").mkdir(mode=0o777)
    (tmp_path / "other").chmod(0o777)
    script = WORKLOAD.format(fallback="other")
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    if subprocess.run(["test", "-x", sys.executable], user=65534, check=False).returncode:
        pytest.skip("nobody can't run this Python")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        user=65534,
        group=65534,
        extra_groups=[],
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stderr.count("\n") == 1
    assert pyprof.load(tmp_path / "other" / "run.pyprof").complete


def test_run_goes_on_in_another_place(tmp_path: Path) -> None:
    """The place that was asked for is a file's, so no folder can be made there."""
    write_signals(tmp_path)
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "pyprof", "run", "--simulate", "signals.toml"]
    command += ["-o", "file/run.pyprof", "--fallback-dir", "other"]
    command += [
        "--",
        sys.executable,
        "-c",
        "import time, pyprof\nwith pyprof.stage('s'): time.sleep(1)",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "going on in" in done.stderr
    recording = pyprof.load(tmp_path / "other" / "run.pyprof")
    assert recording.complete
    assert recording.report().stages["s"].count == 1


def test_run_keeps_its_stages_when_its_place_fails_later(tmp_path: Path) -> None:
    """The folder of the run vanishes under the sampler; stages before that are gone with it."""
    write_signals(tmp_path)
    command = [sys.executable, "-m", "pyprof", "run", "--simulate", "signals.toml"]
    command += ["-o", "run.pyprof", "--fallback-dir", "other"]
    work = "import time, os\ntime.sleep(1)\nos.rename('run.pyprof.d/node.pyprof', 'gone')\n"
    work += "import pyprof\nwith pyprof.stage('s'): time.sleep(1)\n"
    done = subprocess.run(
        [*command, "--", sys.executable, "-c", work],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    recording = pyprof.load(tmp_path / "other" / "run.pyprof")
    assert recording.complete
    assert recording.defects == ()
    report = recording.report()
    assert report.stages["s"].count == 1
    assert report.energy_j == pytest.approx(TOTAL_W * report.run.duration_s, rel=0.03)
    assert not (tmp_path / "run.pyprof.d").exists()
