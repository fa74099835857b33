"""The command that runs any program on a simulated machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sim

MACHINE_PY = Path(sim.__file__).with_name("machine.py")
needs_toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML needs Python 3.11")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(MACHINE_PY), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_program_runs_on_the_machine_and_its_status_passes_through() -> None:
    done = run("two-sockets", "--", "sh", "-c", "cat $PYPROF_SYSFS/class/powercap/*/name; exit 7")
    assert done.returncode == 7
    assert sorted(done.stdout.split()) == ["dram", "dram", "package-0", "package-1"]


def test_a_death_by_signal_passes_as_a_shell_tells_it() -> None:
    assert run("two-sockets", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + 15


def test_the_truth_is_told() -> None:
    done = run("--truth", "constant-gpu", "--", "sleep", "0.5")
    word, channel, energy_j, unit = done.stderr.split()
    assert (word, channel, unit) == ("truth:", "gpu0", "J")
    assert 150.0 <= float(energy_j) <= 300.0 * 5


DESCRIPTION = """
cores_per_socket = 3
[[gpu]]
name = "NVIDIA L4"
signal = {kind = "csv", file = "power.csv"}
limit_w = 72.0
counter = {period_s = 0.02}
no_power = true
faults = [{start_s = 5, end_s = 6, code = "TIMEOUT"}]
[[zone]]
name = "package-0"
signal = {kind = "steps", levels = [[100, 0.3], [200, 0.1]]}
sensor = {quantum_j = 0.001, range_counts = 50000}
empty = [[60, 61]]
[[zone.children]]
name = "dram"
signal = {kind = "constant", power_w = 12}
"""


@needs_toml
def test_a_file_describes_a_machine(tmp_path: Path) -> None:
    (tmp_path / "power.csv").write_text("0,20\n1,70\n")
    (tmp_path / "box.toml").write_text(DESCRIPTION)
    script = "cd $PYPROF_SYSFS; cat devices/system/cpu/online class/powercap/*:0/max_*"
    done = run("--truth", tmp_path / "box.toml", "--", "sh", "-c", script)
    assert done.returncode == 0
    assert done.stdout == "0-2\n49999000\n" + "262143328850\n"
    told = [line.split()[1] for line in done.stderr.splitlines()]
    assert told == ["gpu0", "package-0", "package-0/dram"]


@needs_toml
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("colour = 1", "a machine has no 'colour'"),
        ("[[gpu]]\ncolour = 1", "a gpu has no 'colour'"),
        ("[[gpu]]\nsignal = {kind = 'sine'}", "no signal of kind 'sine'"),
        ("[[gpu]]\nsignal = {kind = 'square', low_w = 1}", "high_w"),
        ("[[gpu]]\nsignal = {kind = 'csv', file = 'absent.csv'}", "absent.csv"),
        ("[[gpu]]\nfaults = [{start_s = 1, end_s = 2, code = 'BAD'}]", "a fault has"),
        ("[[zone]]\nname = 'package-0'", "a zone needs a signal"),
        ("[[gpu]]\ncounter = {period_s = 0}", "more than 0"),
        ("ready = 'none'", "no ready machine 'none'"),
        ("= nonsense", "is not TOML"),
    ],
)
def test_mistakes_are_named_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "box.toml").write_text(text)
    done = run(tmp_path / "box.toml", "--", "true")
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["two-sockets"], 2, "nothing to run"),
        (["two-sockets", "--", "no-such-program"], 127, "no-such-program was not found"),
    ],
)
def test_usage(words: list[str], status: int, sentence: str) -> None:
    done = run(*words)
    assert done.returncode == status
    assert sentence in done.stderr


@needs_toml
def test_a_missing_file_is_named() -> None:
    done = run("absent.toml", "--", "true")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "absent.toml" in done.stderr
