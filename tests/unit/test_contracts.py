"""The walls of the house: who may import whom, and what an import may do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pyprof"

# Modules of the accounting half and what they may see of the rest.
ACCOUNTING = {"pyprof.errors", "pyprof.energy", "pyprof.settings"}


def imported_by(path: Path) -> set[str]:
    """Modules that a file imports anywhere, type checking blocks left out."""
    names: set[str] = set()
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(id(inner) for inner in ast.walk(node))
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_carbon_sees_only_values_and_errors() -> None:
    for path in (PACKAGE / "carbon").rglob("*.py"):
        seen = {name for name in imported_by(path) if name.startswith("pyprof.")}
        foreign = {
            name
            for name in seen
            if not name.startswith("pyprof.carbon")
            and not any(name == home or name.startswith(home + ".") for home in ACCOUNTING)
        }
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def test_nobody_sees_the_command_line() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "cli" in path.relative_to(PACKAGE).parts or path.name == "__main__.py":
            continue
        assert not any(name.startswith("pyprof.cli") for name in imported_by(path)), path


def test_values_import_nothing_of_the_package() -> None:
    for name in ("errors.py", "energy.py"):
        seen = {module for module in imported_by(PACKAGE / name) if module.startswith("pyprof")}
        # The JSON form of a report is an exporter; it is imported when asked for.
        allowed = {"pyprof.export.json", "pyprof.export.json.report_dict"}
        if name != "errors.py":
            allowed |= {"pyprof.errors", "pyprof.errors.UsageError"}
        assert seen <= allowed, (name, seen)


@pytest.mark.parametrize("folder", ["csrc/core", "csrc/sources"])
def test_core_and_sources_know_no_python(folder: str) -> None:
    for path in (ROOT / folder).iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"#include\s*[<\"](Python\.h|pybind11)", text), path


def test_core_knows_no_vendor_and_no_source() -> None:
    for path in (ROOT / "csrc/core").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"#include\s*[<\"](nvml\.h|sources/|bind/)", text), path


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    return done.stdout.strip()


def test_import_is_light() -> None:
    # No thread, no third-party module, no native module, no output, no file but Python's own.
    code = (
        "import sys, threading\n"
        "before = set(sys.modules)\n"
        "opened = []\n"
        "watch = lambda event, args: opened.append(args[0]) if event == 'open' else None\n"
        "sys.addaudithook(watch)\n"
        "import pyprof\n"
        "new = set(sys.modules) - before\n"
        "assert threading.active_count() == 1\n"
        "assert new <= {'__future__', 'pyprof'}, new\n"
        "foreign = [f for f in opened if isinstance(f, str) and not f.endswith(('.py', '.pyc'))]\n"
        "assert not foreign, foreign\n"
        "with pyprof.stage('mark'): pass\n"
        "new = set(sys.modules) - before\n"
        "assert not new & {'inspect', 'typing', 're', 'sqlite3'}, new\n"
    )
    assert run_python(code) == ""


def test_carbon_works_without_the_native_module() -> None:
    code = (
        "import sys\n"
        "sys.modules['pyprof._native'] = None\n"
        "from pyprof.carbon import Scenario, footprint\n"
        "print(round(footprint({'training': 433196.0}, "
        "Scenario(factor_g_per_kwh=57, pue=1.0)).kg_co2e, 1))\n"
    )
    assert run_python(code) == "24692.2"


def test_public_names_are_what_they_say() -> None:
    code = (
        "import pyprof\n"
        "for name in pyprof.__all__:\n"
        "    assert getattr(pyprof, name) is not None, name\n"
        "assert sorted(pyprof.__all__) == pyprof.__all__\n"
    )
    assert run_python(code) == ""


def test_versions_agree() -> None:
    declared = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    code = "import pyprof, pyprof._native as n; print(pyprof.__version__, n.__version__)"
    assert declared is not None
    assert run_python(code).split() == [declared.group(1)] * 2
