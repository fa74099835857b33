"""What a run leaves behind, and that no output of ours can harm the command."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest
from command_line import CONSTANT_W, PYPROF, plain_environment, pyprof, report_of, simulated

from pyprof.export.json import load_schema

TWO_STAGES = """
import time, pyprof
with pyprof.stage("load"):
    time.sleep(0.3)
with pyprof.stage("train"):
    for _ in range(2):
        with pyprof.stage("step"):
            time.sleep(0.2)
print("done")
"""


def test_stages_of_an_unchanged_python_child_are_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TWO_STAGES)
    done = pyprof(*simulated(tmp_path, "-o", "run.pyprof", "train.py"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    for word in ("load", "train", "step", "(whole run)"):
        assert word in done.stderr
    report = report_of(tmp_path)
    rows = {row["path"]: row for row in report["stages"]}
    assert set(rows) == {"", "load", "train", "train/step"}
    assert rows["train/step"]["count"] == 2
    assert rows["load"]["energy_j"] == pytest.approx(CONSTANT_W * rows["load"]["wall_s"], rel=0.02)
    total = report["total"]["energy_j"]
    assert total == pytest.approx(CONSTANT_W * report["run"]["duration_s"], rel=0.01)
    assert sum(row["self_energy_j"] for row in rows.values()) == pytest.approx(total)
    assert report["run"]["command"] == "train.py"


def test_words_go_to_stderr_and_a_new_name_is_made(tmp_path: Path) -> None:
    done = pyprof(*simulated(tmp_path, "--", "echo", "mine"), cwd=tmp_path)
    assert done.stdout == "mine\n"
    (made,) = tmp_path.glob("*.pyprof")
    assert made.name.startswith("pyprof-echo-")
    assert f"pyprof report {made.name}" in done.stderr
    assert "Energy" in done.stderr
    assert made.stat().st_mode & 0o777 == 0o600


def test_quiet_says_nothing(tmp_path: Path) -> None:
    done = pyprof(*simulated(tmp_path, "-q", "-o", "run.pyprof", "--", "true"), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_follows_the_schema_and_knows_the_ending(tmp_path: Path) -> None:
    words = ("-q", "--json", "out.json", "--zone", "FR", "--pue", "1.5", "--", "sh", "-c", "exit 3")
    done = pyprof(*simulated(tmp_path, *words), cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(document, load_schema(), cls=jsonschema.Draft202012Validator)
    assert document["run"]["exit_status"] == 3
    assert document["run"]["complete"] is True
    footprint = document["footprint"]
    grams = document["total"]["energy_kwh"] * footprint["factors"][0]["g_per_kwh"] * 1.5
    assert footprint["kg_co2e"] == pytest.approx(grams / 1000)


def test_json_to_stdout_follows_what_the_command_wrote(tmp_path: Path) -> None:
    words = ("-q", "--json", "-", "--", "echo", "first")
    first, _, rest = pyprof(*simulated(tmp_path, *words), cwd=tmp_path).stdout.partition("\n")
    assert first == "first"
    assert json.loads(rest)["schema"] == "pyprof.report/1"


def test_only_the_programs_name_is_kept_unless_asked(tmp_path: Path) -> None:
    secret = "token-5f3a"
    for words in (("-o", "a.pyprof"), ("-o", "b.pyprof", "--record-argv")):
        pyprof(
            *simulated(tmp_path, "-q", *words, "--", "echo", secret),
            cwd=tmp_path,
            env={"SECRET_VARIABLE": "in-the-environment"},
        )
    without, kept = ((tmp_path / name).read_bytes() for name in ("a.pyprof", "b.pyprof"))
    assert secret.encode() not in without
    assert secret.encode() in kept
    assert b"in-the-environment" not in without + kept


def test_what_exists_is_overwritten_only_on_purpose(tmp_path: Path) -> None:
    words = ("-q", "-o", "run.pyprof", "--json", "out.json", "--", "true")
    assert pyprof(*simulated(tmp_path, *words), cwd=tmp_path).returncode == 0
    first = report_of(tmp_path)["run"]["id"]
    assert pyprof(*simulated(tmp_path, *words), cwd=tmp_path).returncode == 125
    assert report_of(tmp_path)["run"]["id"] == first
    assert pyprof(*simulated(tmp_path, "-f", *words), cwd=tmp_path).returncode == 0
    assert report_of(tmp_path)["run"]["id"] != first


@pytest.mark.parametrize("place", ["missing/run.pyprof", "/proc/run.pyprof", "file/run.pyprof"])
def test_output_that_can_not_be_written_costs_one_sentence(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = pyprof(
        *simulated(tmp_path, "-o", place, "--", "sh", "-c", "echo on; exit 6"), cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (6, "on\n"), done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("pyprof: ")]
    assert len(sentences) == 1, done.stderr
    assert Path(place).name in sentences[0]
    assert "Energy" in done.stderr
    assert "measured" in done.stderr


def test_json_that_can_not_be_written_costs_one_sentence(tmp_path: Path) -> None:
    words = ("-q", "-o", "run.pyprof", "--json", "missing/out.json", "--", "sh", "-c", "exit 6")
    done = pyprof(*simulated(tmp_path, *words), cwd=tmp_path)
    assert done.returncode == 6
    assert done.stderr == "pyprof: missing/out.json can't be written: No such file or directory\n"


def test_closed_pipe_ends_the_command_not_by_us(tmp_path: Path) -> None:
    script = 'set -o pipefail; "$@" | head -n 1'
    done = subprocess.run(
        ("bash", "-c", script, "bash", *PYPROF, *map(str, simulated(tmp_path, "-q", "--", "yes"))),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=plain_environment(),
    )
    assert done.stdout == "y\n"
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""


def test_closed_stderr_changes_nothing(tmp_path: Path) -> None:
    words = map(str, simulated(tmp_path, "-o", "run.pyprof", "--", "sh", "-c", "echo out; exit 8"))
    done = subprocess.run(
        ("sh", "-c", 'exec "$@" 2>&-', "sh", *PYPROF, *words),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=plain_environment(),
    )
    assert (done.returncode, done.stdout) == (8, "out\n")
    assert report_of(tmp_path)["run"]["exit_status"] == 8


def test_run_of_which_we_were_killed_can_still_be_reported(tmp_path: Path) -> None:
    words = simulated(tmp_path, "-o", "run.pyprof", "--", "sh", "-c", "sleep 2.5; echo on > after")
    process = subprocess.Popen((*PYPROF, *map(str, words)), cwd=tmp_path, env=plain_environment())
    until = time.monotonic() + 30
    node = tmp_path / "run.pyprof.d" / "node.pyprof"
    while not node.exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(1.5)
    process.kill()
    process.wait()
    shown = pyprof("report", "run.pyprof", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "cut short" in shown.stdout
    while not (tmp_path / "after").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert (tmp_path / "after").read_text() == "on\n"


def test_ascii_terminals_get_ascii(tmp_path: Path) -> None:
    done = pyprof(
        *simulated(tmp_path, "--", "true"),
        cwd=tmp_path,
        env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0
    assert "Energy" in done.stderr
    assert done.stderr.isascii()


def test_run_inside_a_run_keeps_its_own_stages(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TWO_STAGES)
    inner = (*PYPROF, *simulated(tmp_path, "-q", "-o", "inner.pyprof", "train.py"))
    outer = simulated(tmp_path, "-q", "-o", "outer.pyprof", "--", *inner)
    assert pyprof(*outer, cwd=tmp_path).returncode == 0
    assert "train/step" in {row["path"] for row in report_of(tmp_path, "inner.pyprof")["stages"]}
    assert {row["path"] for row in report_of(tmp_path, "outer.pyprof")["stages"]} == {""}


TWO_WORKERS = """
import subprocess, sys
WORK = "import time, pyprof\\nwith pyprof.stage('work'): time.sleep(0.3)"
workers = [subprocess.Popen([sys.executable, "-c", WORK]) for _ in range(2)]
sys.exit(max(worker.wait() for worker in workers))
"""


def test_every_process_of_a_run_counts(tmp_path: Path) -> None:
    words = ("-q", "-o", "run.pyprof", "-c", TWO_WORKERS)
    assert pyprof(*simulated(tmp_path, *words), cwd=tmp_path).returncode == 0
    (row,) = (row for row in report_of(tmp_path)["stages"] if row["path"] == "work")
    assert (row["count"], row["processes"]) == (2, 2)
    assert row["duration_s"] > row["wall_s"] * 0.99


def test_interval_and_phase_are_heeded(tmp_path: Path) -> None:
    words = ("-q", "-o", "run.pyprof", "--interval", "50ms", "--phase", "deployment")
    assert pyprof(*simulated(tmp_path, *words, "--", "sleep", "1"), cwd=tmp_path).returncode == 0
    report = report_of(tmp_path)
    assert report["stages"][0]["phase"] == "deployment"
    assert 15 <= report["overhead"]["reads"] <= 60
