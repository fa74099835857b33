"""Energy and carbon profiler: every joule says whether it was measured, derived or modelled.

Importing this package opens no file, starts no thread and loads no library: names are looked up on
first use, so that a library may keep its :func:`stage` marks for users who don't measure.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyprof._native import stage
    from pyprof.carbon import Scenario, footprint
    from pyprof.energy import EnergyReport
    from pyprof.errors import PyprofError
    from pyprof.profiler import Profiler
    from pyprof.recording import load

__version__ = "0.1.0"

__all__ = [
    "EnergyReport",
    "Profiler",
    "PyprofError",
    "Scenario",
    "__version__",
    "footprint",
    "load",
    "stage",
]

_HOMES = {
    "EnergyReport": "pyprof.energy",
    "Profiler": "pyprof.profiler",
    "PyprofError": "pyprof.errors",
    "Scenario": "pyprof.carbon",
    "footprint": "pyprof.carbon",
    "load": "pyprof.recording",
    "stage": "pyprof.stages",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'pyprof' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next look-up costs nothing
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
