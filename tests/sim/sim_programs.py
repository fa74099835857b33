"""Runs other people's programs on a simulated machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from textwrap import dedent
from typing import Any

from sim.machine import Running

PYNVML = """
import json, os, sys, time
import pynvml as nvml

def code_of(function, *arguments):
    try:
        function(*arguments)
    except nvml.NVMLError as error:
        return error.value
    return 0

def stamped(function, *arguments):
    start_ns = time.monotonic_ns()
    value = function(*arguments)
    return start_ns, value, time.monotonic_ns()

def polled(seconds, function, *arguments):
    end_ns = time.monotonic_ns() + seconds * 1e9
    while time.monotonic_ns() < end_ns:
        yield stamped(function, *arguments)
        time.sleep(0.007)

def answer(value):
    print(json.dumps(value))
"""


def python(machine: Running, script: str, prefix: Sequence[str] = ()) -> Any:
    """What the script, run by a fresh interpreter, prints as JSON."""
    command = [*prefix, sys.executable, "-c", dedent(script)]
    environment = {**os.environ, **machine.env}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nvidia_ml_py(machine: Running, script: str) -> Any:
    """The same, with NVIDIA's own Python binding initialised as ``nvml``."""
    return python(machine, f"{PYNVML}\nnvml.nvmlInit()\n{dedent(script)}")
