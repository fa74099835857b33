"""The command: any program on a simulated machine."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sim.build import BuildError
from sim.describe import DescriptionError, load
from sim.machine import Machine, Running
from sim.overlay import over_sys, why_not_over_sys
from sim.ready import READY

USAGE_ERROR = 2
NOT_FOUND = 127


def main(words: Sequence[str]) -> int:
    options = _parser().parse_args(words)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        return _refuse("nothing to run: put a command after --")
    try:
        machine = _machine(options.machine)
        with (
            tempfile.TemporaryDirectory(prefix="pyprof-sim-") as folder,
            machine.running(Path(folder)) as running,
        ):
            return _run(running, command, hide_sys=options.over_sys, tell=options.truth)
    except (DescriptionError, BuildError) as error:
        return _refuse(str(error))


def _machine(name: str) -> Machine:
    return READY[name]() if name in READY else load(Path(name))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="machine.py", description="Runs a command on a simulated machine."
    )
    parser.add_argument(
        "machine", help=f"a TOML file that describes it, or one of {', '.join(READY)}"
    )
    parser.add_argument(
        "--over-sys", action="store_true", help="bind the tree over /sys, in a private namespace"
    )
    parser.add_argument("--truth", action="store_true", help="say at the end what was really used")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD")
    return parser


def _refuse(sentence: str) -> int:
    print(f"machine.py: {sentence}", file=sys.stderr)
    return USAGE_ERROR


def _run(running: Running, command: list[str], *, hide_sys: bool, tell: bool) -> int:
    if hide_sys and (reason := why_not_over_sys(running.sysfs)):
        return _refuse(f"the tree can't be bound over /sys here: {reason}")
    prefix = over_sys(running.sysfs) if hide_sys else []
    start_ns = time.monotonic_ns()
    try:
        status = subprocess.run([*prefix, *command], env={**os.environ, **running.env}).returncode
    except FileNotFoundError:
        print(f"machine.py: {command[0]} was not found", file=sys.stderr)
        return NOT_FOUND
    if tell:
        _tell_truth(running, start_ns, time.monotonic_ns())
    return status if status >= 0 else 128 - status


def _tell_truth(running: Running, start_ns: int, end_ns: int) -> None:
    for channel in running.machine.signals():
        energy_j = running.truth_j(channel, start_ns, end_ns)
        print(f"truth: {channel} {energy_j:.3f} J", file=sys.stderr)
