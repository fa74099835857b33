"""Processes of one run with clocks of their own: time namespaces, other boots, set wall clocks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sim import waveform
from sim.gpu import Gpu
from sim.machine import Machine, Running

import pyprof
from pyprof.joining import join
from pyprof.layout import Process
from pyprof.loading import load_file
from pyprof.recording import Recording

OFFSET_S = 5000
GPU_W = 250.0
IN_NAMESPACE = ("unshare", "--time", "--monotonic", str(OFFSET_S), "--boottime", str(OFFSET_S))


def why_no_namespace() -> str | None:
    try:
        tried = subprocess.run((*IN_NAMESPACE, "--fork", "true"), capture_output=True, text=True)
    except OSError as error:
        return str(error)
    return None if tried.returncode == 0 else tried.stderr.strip()


needs_namespaces = pytest.mark.skipif(
    why_no_namespace() is not None, reason=f"no time namespaces here: {why_no_namespace()}"
)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Running]:
    with Machine(gpus=(Gpu(waveform.constant(GPU_W)),)).running(tmp_path) as running:
        yield running


def run(machine: Running, folder: Path, script: str) -> pyprof.EnergyReport:
    """A run of a shell script whose Python is ours."""
    words = ("run", "-q", "--sources", "nvml", "--no-model", "-o", "run.pyprof", "--")
    done = subprocess.run(
        (sys.executable, "-m", "pyprof", *words, "sh", "-c", script),
        cwd=folder,
        env={**os.environ, **machine.env, "PY": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return pyprof.load(folder / "run.pyprof").report()


STAGE = "import pyprof, time\nwith pyprof.stage('{name}'): time.sleep({seconds})"
PROFILER = """
import pyprof, time
with pyprof.Profiler() as prof:
    with prof.stage("own"):
        time.sleep(0.6)
report = prof.report()
own = report.stages["own"]
print(report.run.duration_s, report.energy_j, own.wall_s, own.energy_j)
"""


@needs_namespaces
def test_a_container_with_a_clock_of_its_own_is_joined(machine: Running, tmp_path: Path) -> None:
    (tmp_path / "out.py").write_text(STAGE.format(name="outside", seconds=0.4))
    (tmp_path / "in.py").write_text(STAGE.format(name="inside", seconds=0.6))
    script = f'"$PY" out.py; {" ".join(IN_NAMESPACE)} --fork "$PY" in.py'
    report = run(machine, tmp_path, script)
    for name, seconds in (("outside", 0.4), ("inside", 0.6)):
        stage = report.stages[name]
        assert stage.wall_s == pytest.approx(seconds, abs=0.15)
        assert stage.energy_j == pytest.approx(GPU_W * stage.wall_s, rel=0.03)
    assert [event for event in report.events if "clock" in event.text] == []
    offsets = {process.offset_ns for process in pyprof.load(tmp_path / "run.pyprof").processes}
    assert offsets == {0, OFFSET_S * 10**9}


@needs_namespaces
def test_a_profiler_in_such_a_container_answers(machine: Running, tmp_path: Path) -> None:
    (tmp_path / "in.py").write_text(PROFILER)
    script = f'{" ".join(IN_NAMESPACE)} --fork "$PY" in.py > told'
    run(machine, tmp_path, script)
    duration_s, energy_j, wall_s, stage_j = map(float, (tmp_path / "told").read_text().split())
    assert 0.6 <= duration_s < 5
    assert energy_j == pytest.approx(GPU_W * duration_s, rel=0.1)
    assert stage_j == pytest.approx(GPU_W * wall_s, rel=0.05)


@needs_namespaces
def test_a_run_inside_measures_processes_inside(machine: Running, tmp_path: Path) -> None:
    """The sampler itself may be the one whose clock is another."""
    (tmp_path / "in.py").write_text(STAGE.format(name="inside", seconds=0.5))
    words = ("run", "-q", "--sources", "nvml", "--no-model", "-o", "run.pyprof", "--")
    # The simulated GPU goes by the clock of whoever reads it: only its power is looked at.
    subprocess.run(
        (*IN_NAMESPACE, "--fork", sys.executable, "-m", "pyprof", *words, sys.executable, "in.py"),
        cwd=tmp_path,
        env={**os.environ, **machine.env},
        check=True,
        timeout=60,
    )
    report = pyprof.load(tmp_path / "run.pyprof").report()
    stage = report.stages["inside"]
    assert stage.energy_j == pytest.approx(GPU_W * stage.wall_s, rel=0.05)


# -- what is joined and what is not ----------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, Recording]:
    """What a run's process that samples wrote, and one that marked a stage."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "work.py").write_text(STAGE.format(name="x", seconds=0.3))
    kill = f'"{sys.executable}" work.py; sleep 1; kill -9 $PPID; sleep 0.1'
    words = ("run", "-q", "--sources", "nvml", "--no-model", "-o", "run.pyprof", "--")
    with Machine(gpus=(Gpu(waveform.constant(GPU_W)),)).running(folder) as machine:
        subprocess.run(
            (sys.executable, "-m", "pyprof", *words, "sh", "-c", kill),
            cwd=folder,
            env={**os.environ, **machine.env},
            timeout=60,
        )
    (stages,) = (folder / "run.pyprof.d").glob("stages-*.pyprof")
    return load_file(folder / "run.pyprof.d/node.pyprof"), load_file(stages)


def changed(recording: Recording, **fields: object) -> Recording:
    (process,) = recording.processes
    made: Process = replace(process, **fields)  # type: ignore[arg-type]
    return replace(recording, processes=(made,))


def joined(node: Recording, other: Recording) -> tuple[bool, list[str]]:
    """Whether the stage is in the report, and what is said."""
    report = join(node, [other]).report()
    said = [event.text for event in report.events if "process" in event.text]
    return "x" in report.stages, said


def test_the_same_boot_and_clocks(parts: tuple[Recording, Recording]) -> None:
    assert joined(*parts) == (True, [])


@pytest.mark.parametrize(
    ("apart_ms", "is_joined"), [(-9, True), (9, True), (-11, False), (11, False)]
)
def test_clocks_of_one_boot_that_disagree(
    parts: tuple[Recording, Recording], apart_ms: int, is_joined: bool
) -> None:
    node, other = parts
    drift_ns = other.process.wall_ns - other.process.mono_ns
    drift_ns -= node.process.wall_ns - node.process.mono_ns
    wall_ns = other.process.wall_ns - drift_ns + apart_ms * 1_000_000
    found, said = joined(node, changed(other, wall_ns=wall_ns))
    assert found is is_joined
    if not is_joined:
        (text,) = said
        assert "left out" in text
        assert "0.011 s apart" in text


def test_an_offset_that_is_not_known(parts: tuple[Recording, Recording]) -> None:
    node, other = parts
    found, said = joined(node, changed(other, mono_ns=other.process.mono_ns + 10**9))
    assert not found
    assert "clocks" in said[0]


def test_a_wall_clock_that_was_set_in_between(parts: tuple[Recording, Recording]) -> None:
    node, other = parts
    hour_ns = 3600 * 10**9
    process = node.process
    anchors = f"[[{process.mono_ns + 1}, {process.boot_ns + 1}, {process.wall_ns + 1 + hour_ns}]]"
    later = changed(other, wall_ns=other.process.wall_ns + hour_ns)
    assert not joined(node, later)[0]
    assert joined(replace(node, meta={**node.meta, "anchors": anchors}), later) == (True, [])


@pytest.mark.parametrize("boot_id", ["another", None])
def test_another_boot_id_of_the_same_machine(
    parts: tuple[Recording, Recording], boot_id: str | None
) -> None:
    node, other = parts
    found, said = joined(node, changed(other, boot_id=boot_id))
    assert found
    assert "another boot" in said[0]
    assert "joined" in said[0]


def test_another_boot_id_of_another_machine(parts: tuple[Recording, Recording]) -> None:
    node, other = parts
    uuid = node.channels[0].uuid
    assert uuid
    foreign = changed(other, boot_id="another", machine_id="another")
    assert not joined(node, foreign)[0]
    rebooted = changed(other, boot_id="another", wall_ns=other.process.wall_ns + 10**11)
    assert not joined(node, rebooted)[0]
    container = changed(other, boot_id="another")
    theirs = replace(container, meta={**container.meta, "gpus": '["GPU-of-somebody-else"]'})
    ours = replace(container, meta={**container.meta, "gpus": f'["{uuid}"]'})
    found, said = joined(node, theirs)
    assert not found
    assert "left out" in said[0]
    assert joined(node, ours)[0]
