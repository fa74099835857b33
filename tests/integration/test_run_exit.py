"""A command under ``pyprof run`` ends as it would without: every status, every signal, and what
stands in its way at its streams.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PYPROF = (sys.executable, "-m", "pyprof")
STATUSES = (0, 1, 2, 7, 125, 126, 127, 255)
SIGNALS = ("INT", "TERM", "KILL", "SEGV", "ABRT", "PIPE", "HUP")
STREAMS = ("terminal", "pipe", "closed stdin")


def wait_under(streams: str, argv: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """The wait status as subprocess gives it, and what was written."""
    if streams == "terminal":
        return wait_on_terminal(argv, folder)
    command = argv if streams == "pipe" else ("sh", "-c", 'exec "$@" <&-', "sh", *argv)
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout + done.stderr


def wait_on_terminal(argv: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """The same on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvp(argv[0], argv)
    written = b""
    try:
        while block := os.read(terminal, 65536):
            written += block
    except OSError:
        pass  # EIO: the last one hung up
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), written.decode()


def run_words(*command: str) -> tuple[str, ...]:
    return (*PYPROF, "run", "-q", "-o", "run.pyprof", "--sources", "modelled", "--", *command)


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("status", STATUSES)
def test_exit_status_is_the_commands(status: int, streams: str, tmp_path: Path) -> None:
    ended, written = wait_under(streams, run_words("sh", "-c", f"exit {status}"), tmp_path)
    assert ended == status, written
    assert written == ""


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("name", SIGNALS)
def test_signal_of_the_command_ends_us_too(name: str, streams: str, tmp_path: Path) -> None:
    command = ("sh", "-c", f"ulimit -c 0; kill -{name} $$; sleep 20")
    ended, written = wait_under(streams, run_words(*command), tmp_path)
    assert ended == -getattr(signal, f"SIG{name}"), written
    assert not list(tmp_path.glob("core*"))


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ((), 125, "no command given"),
        (("--",), 125, "no command given"),
        (("--zone", "NOWHERE", "--", "true"), 125, "NOWHERE"),
        (("--pue", "0.5", "--", "true"), 125, "0.5"),
        (("--interval", "soon", "--", "true"), 125, "soon"),
        (("--interval", "2h", "--", "true"), 125, "between 0.0001 and 3600 seconds"),
        (("--interval", "7200", "--", "true"), 125, "between 0.0001 and 3600 seconds"),
        (("--bogus", "--", "true"), 125, "--bogus"),
        (("-o", "taken", "--", "true"), 125, "taken exists"),
        (("--json", "taken", "--", "true"), 125, "taken exists"),
        (("-o", "cut.pyprof", "--", "true"), 125, "pyprof report cut.pyprof"),
        (("--sources", "sundial", "--", "true"), 125, "sundial"),
        (("--", "./taken"), 126, "permission denied"),
        (("--", "/"), 126, "is a directory"),
        (("--", "no-such-command"), 127, "not found"),
        (("--", "./no/such/file"), 127, "no such file"),
        (("--", "./no-interpreter"), 127, "no such file"),
    ],
)
def test_what_stops_us_before_the_start(
    words: tuple[str, ...], status: int, says: str, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("precious")
    (tmp_path / "cut.pyprof.d").mkdir()
    script = tmp_path / "no-interpreter"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    done = subprocess.run(
        (*PYPROF, "run", *words), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert done.stderr.startswith("pyprof: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert (tmp_path / "taken").read_text() == "precious"
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "cut.pyprof.d",
        "no-interpreter",
        "taken",
    ]


def test_script_without_first_line_runs_as_in_a_shell(tmp_path: Path) -> None:
    script = tmp_path / "plain"
    script.write_text("echo from $0 with $1; exit 5\n")
    script.chmod(0o755)
    done = subprocess.run(
        run_words("./plain", "x"), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (5, "from ./plain with x\n")
