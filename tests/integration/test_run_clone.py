"""In a clone the source shadows the installed package for ``python -c`` and ``python -m``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "pyprof"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the source alone."""
    without = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(SOURCE, tmp_path / "pyprof", ignore=without)
    return tmp_path


def run_python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)


def test_the_source_takes_the_installed_native_part(clone: Path) -> None:
    code = "import pyprof; pyprof.stage('a'); print(pyprof.__file__, pyprof.Profiler().active)"
    done = run_python(clone, "-c", code)
    assert done.stdout == f"{clone}/pyprof/__init__.py False\n", done.stderr
    done = run_python(clone, "-m", "pyprof", "run", "-q", "--", "echo", "measured")
    assert (done.stdout, done.returncode) == ("measured\n", 0), done.stderr


def test_a_native_part_of_another_version_is_refused(clone: Path) -> None:
    init = clone / "pyprof" / "__init__.py"
    init.write_text(init.read_text().replace('__version__ = "', '__version__ = "7.'))
    done = run_python(clone, "-c", "import pyprof; pyprof.stage")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "pip install" in last


@pytest.mark.parametrize("name", ["stage", "Profiler", "load"])
def test_the_source_without_any_native_part_says_so(clone: Path, name: str) -> None:
    done = run_python(clone, "-S", "-c", f"import pyprof; pyprof.{name}")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert "install it with pip" in last
    assert str(clone) in last
