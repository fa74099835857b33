"""Helpers of the profiler's tests: simulated signals and scripts in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

SIGNALS = """
[[channel]]
id = "package-0"
kind = "constant"
watts = 100.0
sensor = { period_s = 0.02, quantum_j = 6.1e-5 }

[[channel]]
id = "gpu0"
kind = "constant"
watts = 250.0
"""
TOTAL_W = 350.0


def write_signals(folder: Path) -> Path:
    """A file of two constant signals, 350 W together."""
    path = folder / "signals.toml"
    path.write_text(SIGNALS, encoding="utf-8")
    return path


def start_script(
    folder: Path, text: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """Python code in a process of its own, in ``folder``."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PYPROF_")}
    return subprocess.Popen(
        [sys.executable, str(path)],
        cwd=folder,
        env={**plain, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_script(folder: Path, text: str, environment: dict[str, str] | None = None) -> str:
    """What the code prints; it must end well and say nothing on stderr."""
    process = start_script(folder, text, environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert err == ""
    return out
