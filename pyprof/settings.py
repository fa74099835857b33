"""Where a setting comes from: the flag, then the environment, then ``[tool.pyprof]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pyprof.errors import UsageError

PROJECT_FILE = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Project:
    """``[tool.pyprof]`` of the nearest pyproject.toml; ``note`` says why it was not read."""

    path: Path | None = None
    table: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None


def find_project(start: Path | None = None) -> Project:
    """The project file in ``start`` (the current folder) or the nearest folder above it."""
    try:
        folder = (start or Path.cwd()).absolute()
        path = next(
            (
                each / PROJECT_FILE
                for each in (folder, *folder.parents)
                if (each / PROJECT_FILE).is_file()
            ),
            None,
        )
        return Project() if path is None else _read_project(path)
    except OSError as error:
        return Project(note=f"{PROJECT_FILE} was not read: {error.strerror}")


def _read_project(path: Path) -> Project:
    """The table of one file. A file that is broken is another tool's matter: only a note."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if "pyprof" not in text:
        return Project(path)
    try:
        # The parser came with Python 3.11; before that its back-port serves where it is there.
        parse = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads
    except ImportError:
        return Project(path, note=f"[tool.pyprof] of {path} was not read: it needs Python 3.11")
    try:
        table = parse(text).get("tool", {}).get("pyprof", {})
    except (ValueError, AttributeError, RecursionError):
        return Project(path, note=f"{path} is not valid TOML, so [tool.pyprof] was not read")
    return Project(path, table if isinstance(table, dict) else {})


PLACES = ("PYPROF_SYSFS", "PYPROF_NVML", "PYPROF_AMDSMI", "PYPROF_ZES", "PYPROF_METER")
"""Variables that say where sensors are looked for."""


def find_zone(flag: str | None = None, project: Project | None = None) -> str | None:
    """The zone that was set, or None: a place is never guessed."""
    if flag is not None or os.environ.get("PYPROF_ZONE"):
        return flag if flag is not None else os.environ["PYPROF_ZONE"]
    zone = _project(project).table.get("zone")
    if zone is not None and not isinstance(zone, str):
        raise UsageError(f"zone under [tool.pyprof] must be a text such as 'FR', not {zone!r}")
    return zone


def find_pue(flag: float | None = None, project: Project | None = None) -> float | None:
    """The facility's PUE that was set, or None: overhead is then left out."""
    if flag is not None:
        return flag
    pue = _project(project).table.get("pue")
    if pue is None or (isinstance(pue, (int, float)) and not isinstance(pue, bool) and pue >= 1):
        return None if pue is None else float(pue)
    raise UsageError(f"pue under [tool.pyprof] must be a number of at least 1, not {pue!r}")


def _project(project: Project | None) -> Project:
    """The one given, or the nearest."""
    return find_project() if project is None else project


def default_zone() -> str | None:
    """The zone of the environment or the project."""
    return find_zone()


def default_sysfs() -> str:
    """``PYPROF_SYSFS``, or the system's own."""
    return os.environ.get("PYPROF_SYSFS") or "/sys"


def default_proc() -> str:
    """``PYPROF_PROC``, or the system's own."""
    return os.environ.get("PYPROF_PROC") or "/proc"


def default_nvml() -> str | None:
    """``PYPROF_NVML``, or None for the library that the loader finds."""
    return os.environ.get("PYPROF_NVML") or None


def default_place(variable: str) -> str | None:
    """What one of ``PLACES`` says, None if it is not set."""
    return os.environ.get(variable) or None


def default_agent(sysfs: str = "/sys") -> str | None:
    """``PYPROF_AGENT``, or the folder of this machine's own service; an empty name is none."""
    named = os.environ.get("PYPROF_AGENT")
    if named is not None:
        return named or None
    return "/run/pyprof" if sysfs == "/sys" else None
