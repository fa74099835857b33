"""In a clone the source shadows the installed package for ``python -c``: that must be said."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "pyprof"


@pytest.mark.parametrize("name", ["stage", "Profiler", "load"])
def test_the_source_without_its_native_part_says_so(tmp_path: Path, name: str) -> None:
    without = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(SOURCE, tmp_path / "pyprof", ignore=without)
    done = subprocess.run(
        [sys.executable, "-c", f"import pyprof; pyprof.{name}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "run from another folder" in last
    assert str(tmp_path) in last
