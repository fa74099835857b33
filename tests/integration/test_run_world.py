"""The command finds the world it would have found without us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import PYPROF, plain_environment, pyprof, simulated

LOOK = "import sys; print(sys.path, sys.argv, sys.flags, sys.executable, __name__)"
# glibc's posix_spawn leaves its own two internal signals ignored; no program can see or use them.
GLIBC_INTERNAL = {32, 33}


def under_run(folder: Path, *command: str) -> str:
    done = pyprof(*simulated(folder, "-q", "-f", "-o", "run.pyprof", *command), cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain(folder: Path, *command: str) -> str:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, env=plain_environment()
    ).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("look.py", "a", "--b"),
        ("./look.py",),
        ("-m", "package.look", "--", "-x"),
        ("-c", LOOK, "-q"),
    ],
)
def test_python_shorthands_are_plain_python(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "look.py").write_text(LOOK)
    assert under_run(tmp_path, *words) == plain(tmp_path, sys.executable, *words)


def test_script_that_names_its_interpreter_keeps_it(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text("#!/bin/sh\necho shell\n")
    script.chmod(0o755)
    assert under_run(tmp_path, "./own.py") == "shell\n"


def test_environment_has_two_variables_more(tmp_path: Path) -> None:
    show = "import os; print(sorted(os.environ))"
    found = eval(under_run(tmp_path, "-c", show))
    expected = eval(plain(tmp_path, sys.executable, "-c", show))
    assert set(found) - set(expected) == {"PYPROF_RUN", "PYPROF_RUN_PHASE"}
    assert set(expected) <= set(found)


def test_group_session_folder_and_mask_are_ours(tmp_path: Path) -> None:
    show = "import os; print(os.getpgrp(), os.getsid(0), os.getcwd(), os.umask(0), os.nice(0))"
    words = simulated(tmp_path, "-q", "-c", show)
    done = subprocess.run(
        (*PYPROF, *map(str, words)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    mask = os.umask(0)
    os.umask(mask)
    assert done.stdout.split() == [
        str(os.getpgrp()),
        str(os.getsid(0)),
        str(tmp_path),
        str(mask),
        str(os.nice(0)),
    ]


def signal_sets(status: str) -> dict[str, set[int]]:
    lines = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    return {
        name: {bit + 1 for bit in range(64) if int(lines[name], 16) >> bit & 1}
        for name in ("SigBlk", "SigIgn", "SigCgt")
    }


@pytest.mark.parametrize("ignored", [set(), {signal.SIGHUP, signal.SIGINT, signal.SIGUSR1}])
def test_signals_are_as_inherited(ignored: set[signal.Signals], tmp_path: Path) -> None:
    trap = f"trap '' {' '.join(each.name[3:] for each in ignored)}; " if ignored else ""
    words = map(str, simulated(tmp_path, "-q", "--", "cat", "/proc/self/status"))
    done = subprocess.run(
        ("sh", "-c", f'{trap}exec "$@"', "sh", *PYPROF, *words),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    found = signal_sets(done.stdout)
    assert found["SigBlk"] == found["SigCgt"] == set()
    assert found["SigIgn"] - GLIBC_INTERNAL == {int(each) for each in ignored}


def test_blocked_signals_stay_blocked(tmp_path: Path) -> None:
    words = tuple(map(str, simulated(tmp_path, "-q", "--", "cat", "/proc/self/status")))
    code = (
        "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2});"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run(
        (sys.executable, "-c", code, *PYPROF, *words),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    assert signal_sets(done.stdout)["SigBlk"] == {int(signal.SIGUSR2)}


def test_descriptors_pass_and_none_of_ours_do(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    show = "import os, sys; print(os.listdir('/proc/self/fd')); os.write(int(sys.argv[1]), b'in')"
    words = tuple(map(str, simulated(tmp_path, "-q", "-c", show, str(theirs))))
    plain_words = (sys.executable, "-c", show, str(theirs))
    found = [
        subprocess.run(
            argv,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            pass_fds=(theirs,),
            env=plain_environment(),
        ).stdout
        for argv in ((*PYPROF, *words), plain_words)
    ]
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        assert pipe.read() == "inin"
    assert found[0] == found[1]


@pytest.mark.parametrize("closed", ["0", "1", "2"])
def test_closed_streams_are_found_closed(closed: str, tmp_path: Path) -> None:
    show = (
        "import os, sys; is_open = os.path.exists('/proc/self/fd/' + sys.argv[1]);"
        " os.write(int(sys.argv[2]), str(is_open).encode())"
    )
    spare = "1" if closed != "1" else "2"
    words = map(str, simulated(tmp_path, "-q", "-c", show, closed, spare))
    script = f'exec "$@" {closed}{"<" if closed == "0" else ">"}&-'
    done = subprocess.run(
        ("bash", "-c", script, "bash", *PYPROF, *words),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=plain_environment(),
    )
    assert "False" in done.stdout + done.stderr


def test_stdin_is_the_commands(tmp_path: Path) -> None:
    done = pyprof(*simulated(tmp_path, "-q", "--", "cat"), cwd=tmp_path, input="through\n")
    assert done.stdout == "through\n"
