"""Recordings and reports that name no host, user or device."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sim import waveform
from sim.gpu import Gpu
from sim.machine import Machine, Running

import pyprof
from pyprof.host import boot_id, machine_id
from pyprof.privacy import Redactor

USER = "alice-q"
WORK = """
import time, socket
import pyprof
for name in ("work", "on " + socket.gethostname()):
    with pyprof.stage(name):
        time.sleep(0.4)
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Running]:
    home = tmp_path / "home" / USER
    home.mkdir(parents=True)
    with Machine(gpus=(Gpu(waveform.constant(200.0)),)).running(home) as running:
        yield running


def run(machine: Running, *words: str) -> subprocess.CompletedProcess[str]:
    home = machine.folder.parent
    (home / "work.py").write_text(WORK)
    env = {**os.environ, **machine.env, "USER": USER, "LOGNAME": USER, "PYPROF_AGENT": ""}
    done = subprocess.run(
        (sys.executable, "-m", "pyprof", *words),
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def secrets(machine: Running) -> list[str]:
    gpu = Path(machine.nvml_spec).read_text()
    uuids = [word for word in gpu.split() if word.startswith("GPU-")]
    assert uuids
    named = [socket.gethostname(), USER, *uuids, boot_id(), machine_id()]
    return [each for each in named if each]


def found(machine: Running, text: str) -> list[str]:
    """Secrets in it. A short host name may be a part of any word: only whole words count."""
    return [s for s in secrets(machine) if re.search(rf"(?<![\w-]){re.escape(s)}(?![\w-])", text)]


def test_a_run_that_names_nobody(machine: Running, tmp_path: Path) -> None:
    home = machine.folder.parent
    argv = ("--record-argv", "--redact", "-o", "run.pyprof", "--json", "run.json", "--no-model")
    done = run(machine, "run", *argv, "--", sys.executable, "work.py", f"/home/{USER}/data")
    assert found(machine, (home / "run.json").read_text()) == []
    assert found(machine, done.stdout + done.stderr) == []
    for file in home.glob("run.pyprof*"):
        raw = file.read_bytes().decode("latin-1")  # a short word may stand there by chance
        assert [each for each in secrets(machine) if len(each) > 5 and each in raw] == [], file
    recording = pyprof.load(home / "run.pyprof")
    assert recording.report().stages["work"].count == 1, "its processes know each other"
    assert recording.process.host is not None
    assert recording.process.host.startswith("host-")
    assert len({process.boot_id for process in recording.processes}) == 1
    assert recording.channels[0].uuid.startswith("device-")
    for words in (("report", "run.pyprof"), ("report", "--json", "run.pyprof")):
        shown = run(machine, *words).stdout
        assert found(machine, shown.replace(f"on {socket.gethostname()}", "")) == []


def test_a_report_that_names_nobody(machine: Running, tmp_path: Path) -> None:
    run(machine, "run", "-q", "-o", "run.pyprof", "--", sys.executable, "work.py")
    plain = run(machine, "report", "run.pyprof", "--json").stdout
    assert found(machine, plain)
    first = run(machine, "report", "run.pyprof", "--json", "--redact").stdout
    assert found(machine, first) == []
    assert first == run(machine, "report", "run.pyprof", "--json", "--redact").stdout
    assert '"host": "host-1"' in first
    assert found(machine, run(machine, "report", "run.pyprof", "--redact").stdout) == []


def test_pseudonyms_are_stable_and_words_stay() -> None:
    names = Redactor()
    names.name("host", "node17.cluster.example")
    text = (
        "GPU-1f2e3d4c-0000-1111-2222-333344445555 on node17.cluster.example lost; see "
        "/home/bob/run.pyprof and /home/bob/x; serial number: C02XG2 at 10.1.2.3; only root may"
    )
    shown = names.text(text)
    assert shown == (
        "device-1 on host-1 lost; see /home/user-1/run.pyprof and /home/user-1/x; "
        "serial number: serial-1 at address-1; only root may"
    )
    assert names.text(shown) == shown
    salted = Redactor("one"), Redactor("one"), Redactor("two")
    first, again, other = (each.name("host", "node17") for each in salted)
    assert first == again != other
