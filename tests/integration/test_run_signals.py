"""Signals sent to pyprof, to its group and by the terminal reach the command exactly once."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PYPROF = (sys.executable, "-m", "pyprof")
RUN = (*PYPROF, "run", "-q", "--sources", "modelled", "-o", "run.pyprof")
PATIENCE_S = 30.0

# Counts what it receives in a file, says when it is ready, ends itself on TERM with status 9.
COUNTER = """
import os, signal, sys, time
def note(number, frame):
    with open("received", "a") as file:
        file.write(signal.Signals(number).name + "\\n")
    if number == signal.SIGTERM:
        sys.exit(9)
for name in ("INT", "QUIT", "HUP", "USR1", "USR2", "TERM"):
    signal.signal(getattr(signal, "SIG" + name), note)
with open("ready.new", "w") as file:
    file.write(str(os.getpid()))
os.rename("ready.new", "ready")
while True:
    time.sleep(0.05)
"""


def wait_for(path: Path, content: str = "") -> str:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if path.exists() and content in (text := path.read_text()):
            return text
        time.sleep(0.01)
    raise AssertionError(f"{path.name} never came")


@contextmanager
def counting(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A run in a process group of its own, and the command's pid."""
    argv = (*RUN, "--", sys.executable, "-c", COUNTER)
    process = subprocess.Popen(argv, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        yield process, int(wait_for(folder / "ready"))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2", "INT", "QUIT"])
def test_sent_to_us_alone_is_passed_on_once(name: str, tmp_path: Path) -> None:
    with counting(tmp_path) as (process, _):
        process.send_signal(getattr(signal, f"SIG{name}"))
        wait_for(tmp_path / "received", f"SIG{name}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 9
    assert (tmp_path / "received").read_text().split() == [f"SIG{name}", "SIGTERM"]


def test_terminate_sent_to_us_ends_the_command_and_the_recording_is_whole(tmp_path: Path) -> None:
    with counting(tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 9
    shown = subprocess.run(
        (*PYPROF, "report", "run.pyprof"), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0, shown.stderr
    assert "exit 9" in shown.stdout
    assert not (tmp_path / "run.pyprof.d").exists()


def test_killed_command_by_its_own_signal_is_told_in_the_report(tmp_path: Path) -> None:
    with counting(tmp_path) as (process, child):
        os.kill(child, signal.SIGKILL)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    shown = subprocess.run(
        (*PYPROF, "report", "run.pyprof"), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "killed by SIGKILL" in shown.stdout


def test_command_outlives_us_unharmed(tmp_path: Path) -> None:
    with counting(tmp_path) as (process, child):
        process.kill()
        process.wait()
        os.kill(child, signal.SIGUSR1)
        wait_for(tmp_path / "received", "SIGUSR1")
        os.kill(child, signal.SIGTERM)
        wait_for(tmp_path / "received", "SIGTERM")


def test_ctrl_c_reaches_the_command_once(tmp_path: Path) -> None:
    pid, terminal = start_on_terminal(tmp_path, *RUN, "--", sys.executable, "-c", COUNTER)
    wait_for(tmp_path / "ready")
    os.write(terminal, b"\x03")
    wait_for(tmp_path / "received", "SIGINT")
    time.sleep(0.2)
    os.kill(pid, signal.SIGTERM)
    assert finish(pid, terminal) == 9
    assert (tmp_path / "received").read_text().split() == ["SIGINT", "SIGTERM"]


def test_ctrl_c_without_a_handler_ends_both_by_interrupt(tmp_path: Path) -> None:
    pid, terminal = start_on_terminal(
        tmp_path, *RUN, "--", "sh", "-c", "echo x > ready; exec sleep 60"
    )
    wait_for(tmp_path / "ready", "x")
    os.write(terminal, b"\x03")
    assert finish(pid, terminal) == -signal.SIGINT
    assert (tmp_path / "run.pyprof").exists()


def test_ctrl_z_stops_the_job_and_it_goes_on_after(tmp_path: Path) -> None:
    """A shell of our own waits for the job, stops it by Ctrl-Z and continues its group."""
    # In the background: a shell that is stopped while it starts a program by vfork does not stop.
    script = "sleep 0.3 & echo x > ready; wait; echo y >> ready; sleep 1; exit 4"
    argv = (*RUN, "--", "sh", "-c", script)
    shell = f"""
import os, signal, sys, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv({argv[0]!r}, {argv!r})
_, status = os.waitpid(job, os.WUNTRACED)
assert os.WIFSTOPPED(status), status
with open("stopped", "w") as file:
    file.write(str(os.WSTOPSIG(status)))
time.sleep(1)
os.tcsetpgrp(0, job)
os.killpg(job, signal.SIGCONT)
_, status = os.waitpid(job, os.WUNTRACED)
os.tcsetpgrp(0, os.getpgrp())
sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 99)
"""
    pid, terminal = start_on_terminal(tmp_path, sys.executable, "-c", shell)
    wait_for(tmp_path / "ready", "x")
    os.write(terminal, b"\x1a")
    assert wait_for(tmp_path / "stopped", "2") == str(int(signal.SIGTSTP))
    assert finish(pid, terminal) == 4


def test_command_that_stops_itself_stops_us(tmp_path: Path) -> None:
    argv = (*RUN, "-o", str(tmp_path / "own.pyprof"), "--", "sh", "-c", "kill -TSTP $$; exit 3")
    pid = os.posix_spawn(argv[0], argv, os.environ, setpgroup=0)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.killpg(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 3


def test_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    script = "trap '' HUP; exec \"$@\""
    show = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    done = subprocess.run(
        ("sh", "-c", script, "sh", *RUN, "-c", show),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "True\n"


def start_on_terminal(folder: Path, *argv: str) -> tuple[int, int]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvp(argv[0], argv)
    return pid, terminal


def finish(pid: int, terminal: int) -> int:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status)
