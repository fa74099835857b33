"""The command as users start it, and a simulated sensor whose energy is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PYPROF = (sys.executable, "-m", "pyprof")
TIMEOUT_S = 60
CONSTANT_W = 50.0
SIGNALS = f"""
[[channel]]
id = "package-0"
kind = "constant"
watts = {CONSTANT_W}

[channel.sensor]
period_s = 0.001
quantum_j = 0.0001
"""


def pyprof(
    *words: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    module: tuple[str, ...] = PYPROF,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Runs the command and keeps what it wrote."""
    return subprocess.run(
        (*module, *map(str, words)),
        cwd=cwd,
        env={**plain_environment(), **(env or {})},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        **options,
    )


def plain_environment() -> dict[str, str]:
    """The environment without anything that steers pyprof or colours."""
    steering = ("PYPROF_", "NO_COLOR", "FORCE_COLOR", "CUDA_VISIBLE", "COLUMNS")
    return {name: value for name, value in os.environ.items() if not name.startswith(steering)}


def signals(folder: Path) -> Path:
    """A file of one constant signal."""
    path = folder / "signals.toml"
    path.write_text(SIGNALS)
    return path


def simulated(folder: Path, *words: str | Path) -> tuple[str | Path, ...]:
    """The words of a run on the constant signal."""
    return ("run", "--simulate", signals(folder), *words)


def report_of(folder: Path, file: str = "run.pyprof", *words: str) -> dict[str, Any]:
    """The JSON report of a recording."""
    done = pyprof("report", file, "--json", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document
