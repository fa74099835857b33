"""Signals to pyprof alone and to its whole group, and commands that end in unusual ways.

All cells are started side by side, so that the table takes the time of its slowest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import pyprof

PYPROF = (sys.executable, "-m", "pyprof")
RUN = (*PYPROF, "run", "-q", "--sources", "modelled", "-o", "run.pyprof", "--")
PATIENCE_S = 60.0
SIGNALS = ("TERM", "INT", "HUP", "QUIT")

# Ends by the signal itself; says when it is there.
DEFAULT = "ulimit -c 0; touch ready; sleep 30 & wait $!; exit 1"
# Is deaf to what would end it, and ends when it wants to.
DEAF = "trap '' TERM INT HUP QUIT; touch ready; i=0; while [ ! -e go ]; do sleep 0.05; done; exit 5"
# Leaves a process behind that outlives it, in a session of its own, with and without its streams.
DAEMON = "setsid sh -c 'sleep 1; touch late' >/dev/null 2>&1 </dev/null & touch ready; exit 3"
NOISY_DAEMON = "setsid sh -c 'sleep 1; echo late' & touch ready; exit 3"
DOUBLE_FORK = "( ( sleep 1; touch late ) >/dev/null 2>&1 & ) ; touch ready; exit 4"
EXEC = "touch ready; exec sh -c 'exec sh -c \"exit 6\"'"
EXEC_SIGNAL = "touch ready; exec sh -c 'ulimit -c 0; kill -SEGV $$'"
HANDLED = "trap 'exit 8' TERM; touch ready; while :; do sleep 0.05; done"


@dataclass(frozen=True)
class Cell:
    """A command, what is done to it when it is ready, and how it must end."""

    command: str
    ends: int
    act: Callable[[subprocess.Popen[str], Path], None] = lambda process, folder: None
    leaves: str | None = None
    says: str = ""


def alone(name: str) -> Callable[[subprocess.Popen[str], Path], None]:
    def act(process: subprocess.Popen[str], folder: Path) -> None:
        process.send_signal(getattr(signal, f"SIG{name}"))

    return act


def group(name: str) -> Callable[[subprocess.Popen[str], Path], None]:
    def act(process: subprocess.Popen[str], folder: Path) -> None:
        os.killpg(process.pid, getattr(signal, f"SIG{name}"))

    return act


def deaf(send: Callable[[subprocess.Popen[str], Path], None]) -> Cell:
    def act(process: subprocess.Popen[str], folder: Path) -> None:
        send(process, folder)
        time.sleep(0.5)
        assert process.poll() is None, "pyprof left a command that goes on"
        (folder / "go").touch()

    return Cell(DEAF, 5, act)


CELLS: dict[str, Cell] = {
    **{
        f"{name} to us alone": Cell(DEFAULT, -getattr(signal, f"SIG{name}"), alone(name))
        for name in SIGNALS
    },
    **{
        f"{name} to the group": Cell(DEFAULT, -getattr(signal, f"SIG{name}"), group(name))
        for name in SIGNALS
    },
    **{f"deaf to {name} alone": deaf(alone(name)) for name in SIGNALS},
    **{f"deaf to {name} to the group": deaf(group(name)) for name in SIGNALS},
    "TERM handled by the command": Cell(HANDLED, 8, alone("TERM")),
    "daemon": Cell(DAEMON, 3, leaves="late"),
    "daemon that keeps the streams": Cell(NOISY_DAEMON, 3, says="late\n"),
    "double fork": Cell(DOUBLE_FORK, 4, leaves="late"),
    "exec of an exec": Cell(EXEC, 6),
    "exec that dies by a signal": Cell(EXEC_SIGNAL, -signal.SIGSEGV),
}


def run_cell(cell: Cell, folder: Path) -> tuple[int, str, str]:
    process = subprocess.Popen(
        (*RUN, "sh", "-c", cell.command),
        cwd=folder,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + PATIENCE_S
        while not (folder / "ready").exists():
            assert time.monotonic() < end, "never ready"
            time.sleep(0.02)
        cell.act(process, folder)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tmp_path_factory.mktemp("cell") for name in CELLS}


@pytest.fixture(scope="module")
def ended(folders: dict[str, Path]) -> Iterator[dict[str, Future[tuple[int, str, str]]]]:
    with ThreadPoolExecutor(6) as pool:
        yield {name: pool.submit(run_cell, CELLS[name], folders[name]) for name in CELLS}


@pytest.mark.parametrize("name", CELLS)
def test_a_run_ends_as_its_command(
    name: str, ended: dict[str, Future[tuple[int, str, str]]], folders: dict[str, Path]
) -> None:
    cell, folder = CELLS[name], folders[name]
    status, out, err = ended[name].result()
    assert (status, out, err) == (cell.ends, cell.says, "")
    recording = pyprof.load(folder / "run.pyprof")
    process = recording.process
    assert recording.complete
    assert recording.defects == ()
    assert not (folder / "run.pyprof.d").exists()
    known = process.exit_status if process.signal is None else -process.signal
    assert known == cell.ends
    if cell.leaves is not None:
        end = time.monotonic() + PATIENCE_S
        while not (folder / cell.leaves).exists():
            assert time.monotonic() < end, "what the command left behind was ended"
            time.sleep(0.02)


# -- inside a program ------------------------------------------------------------------------------

WAYS = """
import asyncio, sys, threading
import pyprof

class Own(BaseException):
    pass

def by_raise(kind):
    with pyprof.stage("outer"):
        with pyprof.stage(kind.__name__):
            raise kind("unchanged")

def generator():
    with pyprof.stage("generator"):
        yield 1
        yield 2

async def cancelled():
    async def sleeper():
        with pyprof.stage("cancelled"):
            await asyncio.sleep(60)
    task = asyncio.create_task(sleeper())
    await asyncio.sleep(0.01)
    task.cancel()
    await task

async def timed_out():
    with pyprof.stage("timed out"):
        await asyncio.wait_for(asyncio.sleep(60), 0.01)

async def gathered():
    async def fails():
        with pyprof.stage("fails"):
            await asyncio.sleep(0.01)
            raise ValueError("unchanged")
    async def waits():
        with pyprof.stage("waits"):
            await asyncio.sleep(60)
    await asyncio.gather(fails(), waits())

@pyprof.stage("decorated")
def decorated():
    raise KeyError("unchanged")

def close():
    running = generator()
    next(running)
    running.close()

def throw():
    running = generator()
    next(running)
    running.throw(OSError("unchanged"))

def in_thread():
    raised = []
    def body():
        try:
            by_raise(RuntimeError)
        except RuntimeError as error:
            raised.append(error)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    raise raised[0]

def recurse():
    def down(depth):
        with pyprof.stage("down"):
            return down(depth + 1)
    down(0)

WAYS = {
    "exception": (lambda: by_raise(ValueError), ValueError),
    "interrupt": (lambda: by_raise(KeyboardInterrupt), KeyboardInterrupt),
    "exit": (lambda: by_raise(SystemExit), SystemExit),
    "base exception": (lambda: by_raise(Own), Own),
    "memory": (lambda: by_raise(MemoryError), MemoryError),
    "stop iteration": (lambda: by_raise(StopIteration), StopIteration),
    "decorator": (decorated, KeyError),
    "generator closed": (close, None),
    "generator thrown into": (throw, OSError),
    "task cancelled": (lambda: asyncio.run(cancelled()), asyncio.CancelledError),
    "time out": (lambda: asyncio.run(timed_out()), asyncio.TimeoutError),
    "gather": (lambda: asyncio.run(gathered()), ValueError),
    "thread": (in_thread, RuntimeError),
    "recursion": (recurse, RecursionError),
}
with pyprof.Profiler(sources=("modelled",)) as prof:
    for name, (way, kind) in WAYS.items():
        try:
            way()
        except BaseException as error:
            assert type(error) is kind, (name, error)
            assert kind in (asyncio.CancelledError, asyncio.TimeoutError, RecursionError) or (
                "unchanged" in str(error)), (name, error)
        else:
            assert kind is None, name
        with prof.stage("after " + name):
            pass
report = prof.report()
for name in WAYS:
    assert report.stages["after " + name].count == 1, name  # nothing was left open around it
assert not any(row.cut for row in report.stage_rows)
print(len(WAYS))
"""


def test_exceptions_and_cancellations_pass_unchanged_and_close_their_stage(tmp_path: Path) -> None:
    done = subprocess.run(
        (sys.executable, "-c", WAYS), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "14\n"), done.stderr


SHUTDOWN = """
import atexit, os, signal, sys, threading, time
import pyprof
prof = pyprof.Profiler(out="run.pyprof", sources=("modelled",))
prof.start()
stage = prof.stage("open").__enter__()
time.sleep(0.1)
"""
ENDINGS = {
    "end of the script": ("", 0, True),
    "exit status": ("sys.exit(7)", 7, True),
    "exception": ("1 / 0", 1, True),
    "interrupt": ("raise KeyboardInterrupt", -signal.SIGINT, True),
    "daemon thread": (
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        0,
        True,
    ),
    "late report": ("atexit.register(lambda: print(prof.report().run.complete))", 0, True),
    "profiler at exit": ("atexit.register(pyprof.Profiler(sources=('modelled',)).start)", 0, True),
    "stage in a thread": (
        "t = threading.Thread(target=lambda: [pyprof.stage('t').__enter__(), time.sleep(0.3)])\n"
        "t.start()",
        0,
        True,
    ),
    "garbage": ("prof.loop = prof; del prof, stage", 0, True),
    "end at once": ("os._exit(9)", 9, True),
    "no end at all": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, False),
    "terminated": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", -signal.SIGTERM, False),
}


def end_interpreter(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = SHUTDOWN + ENDINGS[name][0].replace("\\\n", "\\n")
    words = (sys.executable, "-c", script)
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def shut(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[Path, Future[subprocess.CompletedProcess[str]]]]]:
    with ThreadPoolExecutor(4) as pool:
        places = {name: tmp_path_factory.mktemp("shut") for name in ENDINGS}
        yield {
            name: (place, pool.submit(end_interpreter, name, place))
            for name, place in places.items()
        }


@pytest.mark.parametrize("name", ENDINGS)
def test_an_interpreter_ends_with_a_live_sampler(
    name: str, shut: dict[str, tuple[Path, Future[subprocess.CompletedProcess[str]]]]
) -> None:
    folder, future = shut[name]
    done = future.result()
    _, status, complete = ENDINGS[name]
    assert done.returncode == status, done.stderr
    assert "pyprof" not in done.stderr.replace("pyprof.", "")
    assert pyprof.load(folder / "run.pyprof").complete is complete
