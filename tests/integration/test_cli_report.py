"""``pyprof report`` and what every verb owes: one sentence, a status, clean terminals."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from command_line import PYPROF, plain_environment, pyprof, report_of, simulated

from pyprof.export.json import load_schema


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one recording."""
    folder = tmp_path_factory.mktemp("recorded")
    code = "import time, pyprof\nwith pyprof.stage('\\x1b[31mred'): time.sleep(0.4)"
    done = pyprof(*simulated(folder, "-q", "-o", "run.pyprof", "-c", code), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def on_terminal(folder: Path, *words: str, **variables: str) -> str:
    """What the command writes to a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(PYPROF[0], (*PYPROF, *words), {**plain_environment(), **variables})
    written = b""
    try:
        while block := os.read(terminal, 65536):
            written += block
    except OSError:
        pass  # EIO: the last one hung up
    os.waitpid(pid, 0)
    os.close(terminal)
    return written.decode()


def test_recording_is_priced_again_at_will(recorded: Path) -> None:
    plain = report_of(recorded)
    assert plain["footprint"] is None
    jsonschema.validate(plain, load_schema(), cls=jsonschema.Draft202012Validator)
    prices = {zone: report_of(recorded, "run.pyprof", "--zone", zone) for zone in ("FR", "PL")}
    for zone, priced in prices.items():
        assert priced["total"] == plain["total"]
        (factor,) = priced["footprint"]["factors"]
        assert factor["zone"] == zone
        assert priced["footprint"]["kg_co2e"] == pytest.approx(
            plain["total"]["energy_kwh"] * factor["g_per_kwh"] / 1000
        )
    with_overhead = report_of(recorded, "run.pyprof", "--zone", "FR", "--pue", "1.4")
    assert with_overhead["footprint"]["kg_co2e"] == pytest.approx(
        1.4 * prices["FR"]["footprint"]["kg_co2e"]
    )
    assert with_overhead["total"] == plain["total"]


def test_zone_of_the_environment_and_of_the_project(recorded: Path) -> None:
    shown = pyprof("report", "run.pyprof", "--json", cwd=recorded, env={"PYPROF_ZONE": "SE"})
    assert json.loads(shown.stdout)["footprint"]["zone"] == "SE"
    below = recorded / "below"
    below.mkdir()
    (recorded / "pyproject.toml").write_text('[tool.pyprof]\nzone = "NO"\npue = 1.25\n')
    try:
        document = json.loads(pyprof("report", "../run.pyprof", "--json", cwd=below).stdout)
        if sys.version_info >= (3, 11):
            assert (document["footprint"]["zone"], document["footprint"]["pue"]) == ("NO", 1.25)
        flagged = pyprof("report", "../run.pyprof", "--json", "--zone", "DK", cwd=below).stdout
        assert json.loads(flagged)["footprint"]["zone"] == "DK"
    finally:
        (recorded / "pyproject.toml").unlink()


def test_broken_project_file_costs_one_sentence(recorded: Path) -> None:
    project = recorded / "pyproject.toml"
    project.write_text("[tool.pyprof\nzone = ")
    try:
        shown = pyprof("report", "run.pyprof", cwd=recorded)
    finally:
        project.unlink()
    assert shown.returncode == 0
    assert shown.stderr.count("\n") == 1
    assert "pyproject.toml" in shown.stderr


def test_without_a_zone_no_place_is_guessed(recorded: Path) -> None:
    text = pyprof("report", "run.pyprof", cwd=recorded).stdout
    assert "no zone is set" in text
    for word in ("--zone", "PYPROF_ZONE", "[tool.pyprof]", "France"):
        assert word in text


def test_json_to_a_file_is_the_same_as_to_stdout(recorded: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    done = pyprof("report", "run.pyprof", "--json", target, cwd=recorded)
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(target.read_text()) == report_of(recorded)
    again = pyprof("report", "run.pyprof", "--json", target, cwd=recorded)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert pyprof("report", "run.pyprof", "-f", "--json", target, cwd=recorded).returncode == 0
    swapped = pyprof("report", "--json", "run.pyprof", cwd=recorded)
    assert json.loads(swapped.stdout) == report_of(recorded)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("report",), "no recording given"),
        (("report", "missing.pyprof"), "missing.pyprof"),
        (("report", "text"), "text"),
        (("report", "empty"), "empty"),
        (("report", "folder"), "folder"),
        (("report", "other.sqlite"), "other.sqlite"),
        (("report", "run.pyprof", "--zone", "NOWHERE"), "NOWHERE"),
        (("report", "run.pyprof", "--pue", "0.3"), "0.3"),
        (("report", "run.pyprof", "--stages", "0"), "--stages"),
        (("report", "run.pyprof", "--bogus"), "--bogus"),
        (("report", "run.pyprof", "--json", "missing/out.json"), "missing/out.json"),
        (("doctor", "--sources", "sundial"), "sundial"),
        (("frobnicate",), "frobnicate"),
        (("--frobnicate",), "--frobnicate"),
    ],
)
def test_bad_input_is_one_sentence_and_two(
    words: tuple[str, ...], says: str, recorded: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.pyprof").write_bytes((recorded / "run.pyprof").read_bytes())
    (tmp_path / "text").write_text("not a recording")
    (tmp_path / "empty").write_text("")
    (tmp_path / "folder").mkdir()
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE meta(key, value)")
    other.close()
    done = pyprof(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("pyprof: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_newer_recording_is_refused_with_the_remedy(recorded: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer.pyprof"
    newer.write_bytes((recorded / "run.pyprof").read_bytes())
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    done = pyprof("report", newer, cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "999" in done.stderr


def test_escapes_only_where_they_are_wanted(recorded: Path) -> None:
    words = ("report", "run.pyprof")
    piped = {
        name: pyprof(*words, cwd=recorded, env=env).stdout
        for name, env in {
            "plain": {},
            "forced": {"FORCE_COLOR": "1"},
            "refused": {"FORCE_COLOR": "1", "NO_COLOR": "1"},
        }.items()
    }
    assert "\x1b" not in piped["plain"] + piped["refused"]
    assert "\x1b[1m" in piped["forced"]
    assert "\x1b[1m" in on_terminal(recorded, *words, TERM="xterm")
    for unwanted in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
        assert "\x1b" not in on_terminal(recorded, *words, **unwanted)
    assert "\x1b" not in on_terminal(recorded, *words, "--no-colour", TERM="xterm")


def test_names_are_shown_never_obeyed(recorded: Path) -> None:
    text = on_terminal(recorded, "report", "run.pyprof", TERM="xterm")
    assert "\x1b[31mred" not in text
    assert "\\x1b[31mred" in text


def test_reader_that_leaves_early_is_no_error(recorded: Path) -> None:
    script = 'set -o pipefail; "$@" | head -n 1'
    done = subprocess.run(
        ("bash", "-c", script, "bash", *PYPROF, "report", "run.pyprof", "--json"),
        cwd=recorded,
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_help_is_light_and_shows_examples(recorded: Path) -> None:
    show = (
        "import sys; from pyprof.cli import main; sys.argv = ['pyprof', '--help']; main();"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        (sys.executable, "-c", show),
        cwd=recorded,
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    assert "pyprof run -- python train.py" in done.stdout
    for heavy in ("sqlite3", "pyprof._native", "pyprof.carbon", "psutil", "numpy", "subprocess"):
        assert f"'{heavy}'" not in done.stderr
    for verb in ("run", "report", "doctor"):
        told = pyprof(verb, "--help", cwd=recorded)
        assert told.returncode == 0
        assert f"pyprof {verb}" in told.stdout
        assert "examples:" in told.stdout


def test_version_and_no_words(recorded: Path) -> None:
    from pyprof import __version__

    assert pyprof("--version", cwd=recorded).stdout == f"pyprof {__version__}\n"
    bare = pyprof(cwd=recorded)
    assert (bare.returncode, bare.stdout) == (2, "")
    assert "usage: pyprof" in bare.stderr


TAKEN = (
    "json",
    "grp",
    "statistics",
    "sitecustomize",
    "argparse",
    "sqlite3",
    "platform",
    "shutil",
    "tempfile",
    "unicodedata",
    "resource",
    "ctypes",
    "zlib",
    "struct",
    "socket",
    "tomllib",
    "numpy",
    "psutil",
    "pynvml",
    "pyprof",
)


@pytest.mark.parametrize("verb", ["run", "report", "doctor"])
def test_modules_in_the_current_folder_are_not_ours(
    verb: str, recorded: Path, tmp_path: Path
) -> None:
    script = Path(sys.executable).with_name("pyprof")
    if not script.exists():
        pytest.skip("the console script is not installed beside this Python")
    for name in TAKEN:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hijacked')")
    words = {
        "run": ("run", "-q", "--", "true"),
        "report": ("report", recorded / "run.pyprof"),
        "doctor": ("doctor",),
    }[verb]
    done = pyprof(*words, cwd=tmp_path, module=(str(script),))
    assert "hijacked" not in done.stdout + done.stderr
    assert done.returncode == (0 if verb != "doctor" else done.returncode)
