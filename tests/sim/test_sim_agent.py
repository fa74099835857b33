"""The system's agent and an ordinary user who may not read the sensors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ordinary_user
import pytest
from sim import waveform
from sim.gpu import Gpu
from sim.machine import Machine, Running
from sim.overlay import NOBODY
from sim.zone import Zone

import pyprof
from pyprof import _native
from pyprof.hardware import Look, open_machine
from pyprof.segments import Published

PYPROF = (sys.executable, "-m", "pyprof")
PACKAGE_W, GPU_W = 90.0, 300.0

needs_root = pytest.mark.skipif(
    ordinary_user.why_not() is not None, reason=f"no other user here: {ordinary_user.why_not()}"
)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Running]:
    """Processor counters that only root may read, and a GPU that all may."""
    # pytest's own folders are root's alone.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    zones = (Zone("package-0", waveform.constant(PACKAGE_W)),)
    gpus = (Gpu(waveform.constant(GPU_W)),)
    with Machine(zones=zones, gpus=gpus).running(tmp_path) as running:
        for file in Path(running.sysfs).rglob("energy_uj"):
            file.chmod(0o400)
        yield running


@contextmanager
def agent(
    machine: Running, folder: Path, *words: str, group: int | None = None
) -> Iterator[Published]:
    env = {**os.environ, **machine.env}
    who = () if group is None else ("--group", str(group))
    command = (*PYPROF, "agent", "--folder", str(folder), "--segment", "2s", *who, *words)
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield Published(folder)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0, said
        assert said.startswith("pyprof: publishing in")
    finally:
        process.kill()
        process.wait()


def wait_for_segments(published: Published, count: int) -> None:
    until = time.monotonic() + 45
    while len(published.segments()) < count:
        assert time.monotonic() < until
        time.sleep(0.1)


WORK = """
import time
import pyprof
with pyprof.stage("long"):
    time.sleep(5.5)
with pyprof.stage("short"):
    time.sleep(0.7)
"""


@needs_root
def test_a_user_without_rights_is_measured_through_the_agent(
    machine: Running, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "work.py").write_text(WORK)
    segments = tmp_path / "published"
    with agent(machine, segments, group=NOBODY) as published:
        wait_for_segments(published, 1)
        env = {**machine.env, "PYPROF_AGENT": str(segments)}
        words = (*PYPROF, "run", "-o", "run.pyprof", "--no-model", "--", sys.executable, "work.py")
        done = ordinary_user.run(words, home, env)
        assert done.returncode == 0, done.stderr
        assert "not published yet" in done.stderr
        text = ordinary_user.run((*PYPROF, "doctor"), home, env).stdout
        assert "agent: available; package-0" in text
        assert "without root" not in text
        early = json.loads(
            ordinary_user.run((*PYPROF, "report", "run.pyprof", "--json"), home, env).stdout
        )
        wait_for_segments(published, len(published.segments()) + 1)
        done = ordinary_user.run((*PYPROF, "report", "run.pyprof", "--json"), home, env)
        assert done.returncode == 0, done.stderr
    late = json.loads(done.stdout)
    rows = {row["id"]: row for row in late["channels"]}
    duration_s = late["run"]["duration_s"]
    assert rows["package-0"]["quality"] == "measured"
    assert rows["package-0"]["coverage"] > 0.98
    assert rows["package-0"]["energy_j"] == pytest.approx(PACKAGE_W * duration_s, rel=0.03)
    assert rows["gpu0"]["energy_j"] == pytest.approx(GPU_W * duration_s, rel=2e-3)
    assert {s["name"]: s["available"] for s in late["sources"]}["agent"]
    covered = {row["id"]: row["coverage"] for row in early["channels"]}["package-0"]
    assert covered is None or covered <= rows["package-0"]["coverage"]
    stages = {row["path"]: row for row in late["stages"]}
    assert stages["long"]["resolved"]
    long = stages["long"]["channels"]
    assert long["package-0"] == pytest.approx(PACKAGE_W * stages["long"]["wall_s"], rel=0.05)
    assert long["gpu0"] == pytest.approx(GPU_W * stages["long"]["wall_s"], rel=5e-3)
    assert stages["short"]["unresolved"] == ["package-0"]
    # The rest is in the file now, whatever becomes of the agent's.
    alone = pyprof.load(home / "run.pyprof").report()
    assert alone.channels["package-0"].energy_j == pytest.approx(rows["package-0"]["energy_j"])
    assert stat.S_IMODE((home / "run.pyprof").stat().st_mode) == 0o600
    assert (home / "run.pyprof").stat().st_uid == NOBODY


@needs_root
def test_who_is_not_in_the_group_gets_nothing_and_reads_why(
    machine: Running, tmp_path: Path
) -> None:
    segments = tmp_path / "published"
    with agent(machine, segments, group=0) as published:
        wait_for_segments(published, 1)
        home = tmp_path / "home"
        home.mkdir()
        env = {**machine.env, "PYPROF_AGENT": str(segments)}
        listed = ordinary_user.run(("ls", str(segments)), home, env)
        assert listed.returncode != 0
        words = (*PYPROF, "run", "-o", "run.pyprof", "--json", "-", "-q", "--", "true")
        done = ordinary_user.run(words, home, env)
        assert done.returncode == 0, done.stderr
        text = ordinary_user.run((*PYPROF, "doctor"), home, env).stdout
    for word in ("pyprof agent --print-unit", "groupadd", "cap_perfmon", "udev", "CVE-2020-8694"):
        assert word in text
    for forbidden in ("chmod -R", "a+r", "o+r", "sudo pyprof", "as root"):
        assert forbidden not in text
    report = json.loads(done.stdout)
    source = {row["name"]: row for row in report["sources"]}["agent"]
    assert not source["available"]
    assert "Permission denied" in source["reason"]
    assert {row["id"]: row["quality"] for row in report["channels"]}["package-0"] == "modelled"


def borrowed(folder: Path, **places: str) -> set[str]:
    """Ids of what a process takes from an agent."""
    look = Look(agent=str(folder), model=False, proc=str(folder), **places)
    return {row.id for row in open_machine(look).borrowed}


def test_what_is_published_is_closed_coarse_and_small(
    machine: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = tmp_path / "published"
    with agent(machine, segments, "--keep", "5s") as published:
        wait_for_segments(published, 1)
        assert stat.S_IMODE(segments.stat().st_mode) == 0o750
        again = subprocess.run(
            (*PYPROF, "agent", "--folder", str(segments)),
            env={**os.environ, **machine.env},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert again.returncode == 2
        assert "another agent" in again.stderr
        wait_for_segments(published, 2)
        first, second, *_ = published.segments()
        for segment in (first, second):
            found = segment.path.stat()
            assert stat.S_IMODE(found.st_mode) == 0o440
            assert found.st_size < 64 << 10
        assert second.start_ns - first.end_ns < 1_000_000_000
        blind = {"sysfs": str(tmp_path / "none"), "nvml": "/nonexistent.so"}
        assert borrowed(segments, **blind) == {"package-0", "gpu0"}
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert borrowed(segments, **blind) == {"package-0"}
        assert borrowed(segments, sysfs=blind["sysfs"], nvml=machine.nvml) == {"package-0"}
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        assert borrowed(segments, sysfs=blind["sysfs"], nvml=machine.nvml) == {"package-0"}
        recording = pyprof.load(second.path)
        assert recording.complete
        package = recording.channels[[c.id for c in recording.channels].index("package-0")]
        assert (package.unit, package.range, package.period_ns) == (1.0, 0, 1_000_000_000)
        counts = {}
        for frames in recording.frames():
            for channel, _, count, _, _ in _native.frame_info(frames):
                name = recording.channels[channel].id
                counts[name] = counts.get(name, 0) + count
        assert counts["package-0"] <= 3
        assert counts["gpu0"] > 10
        wait_for_segments(published, 3)
        time.sleep(4.5)
        assert not first.path.exists()
        names = sorted(file.name for file in segments.iterdir() if "segment-" in file.name)
        assert all(name.endswith(".pyprof") for name in names)


def test_readers_can_neither_stall_nor_mislead_it(machine: Running, tmp_path: Path) -> None:
    segments = tmp_path / "published"
    with agent(machine, segments) as published:
        wait_for_segments(published, 1)
        (first,) = published.segments()[:1]
        import fcntl
        import sqlite3

        with first.path.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH)
            reader = sqlite3.connect(f"{first.path.as_uri()}?mode=ro", uri=True)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM channel").fetchone()
            wait_for_segments(published, 2)
            reader.close()
        # A file that is none of the agent's is no reading of anybody.
        (segments / first.path.name.replace("segment-", "segment-9")).write_text("forged")
        assert pyprof.load(published.segments()[-1].path).complete


def test_the_unit_is_hardened_and_names_this_installation(tmp_path: Path) -> None:
    done = subprocess.run((*PYPROF, "agent", "--print-unit"), capture_output=True, text=True)
    assert done.returncode == 0
    text = done.stdout
    assert f"ExecStart={sys.executable} -I -m pyprof agent --folder /run/pyprof" in text
    assert "@" not in text.replace("@system-service", "").replace("~@", "").replace(" @", "")
    for line in (
        "CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_PERFMON",
        "NoNewPrivileges=yes",
        "RestrictAddressFamilies=none",
        "Group=pyprof",
        "RuntimeDirectory=pyprof",
    ):
        assert line in text.splitlines()
    assert "Listen" not in text
    elsewhere = subprocess.run(
        (*PYPROF, "agent", "--print-unit", "--folder", "/srv/x"), capture_output=True, text=True
    )
    assert elsewhere.returncode == 2
    if shutil.which("systemd-analyze") is not None:
        unit = tmp_path / "pyprof-agent.service"
        unit.write_text(text)
        # The threshold is in tenths of its scale of exposure from 0 to 10.
        for words in (("verify",), ("security", "--offline=true", "--threshold=20")):
            judged = subprocess.run(
                ("systemd-analyze", *words, str(unit)), capture_output=True, text=True
            )
            assert judged.returncode == 0, judged.stdout + judged.stderr


def test_nothing_to_publish_is_said(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    done = subprocess.run(
        (*PYPROF, "agent", "--folder", str(tmp_path / "x"), "--sysfs", str(tmp_path / "sys")),
        env={**os.environ, "PYPROF_NVML": "/nonexistent.so"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no sensor can be read" in done.stderr
    assert done.stderr.count("\n") == 1
