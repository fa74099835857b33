"""Energy and carbon profiler: every joule says whether it was measured, derived or modelled.

Importing this package opens no file, starts no thread and loads no library: names are looked up on
first use, so that a library may keep its :func:`stage` marks for users who don't measure.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true; the module typing alone costs milliseconds
if TYPE_CHECKING:
    from typing import Any

    from pyprof._native import stage
    from pyprof.carbon import Scenario, footprint
    from pyprof.energy import EnergyReport
    from pyprof.errors import PyprofError
    from pyprof.loading import load
    from pyprof.pause import dither
    from pyprof.profiler import Profiler
    from pyprof.sampling import Scheduling

__version__ = "0.1.0"

__all__ = [
    "EnergyReport",
    "Profiler",
    "PyprofError",
    "Scenario",
    "Scheduling",
    "__version__",
    "dither",
    "footprint",
    "load",
    "stage",
]

_HOMES = {
    "EnergyReport": "pyprof.energy",
    "Profiler": "pyprof.profiler",
    "PyprofError": "pyprof.errors",
    "Scenario": "pyprof.carbon",
    "Scheduling": "pyprof.sampling",
    "dither": "pyprof.pause",
    "footprint": "pyprof.carbon",
    "load": "pyprof.loading",
    "stage": "pyprof.stages",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = _HOMES.get(name)
    if name == "_native":
        return _find_native()
    if home is None:
        raise AttributeError(f"module 'pyprof' has no attribute {name!r}")
    try:
        value = getattr(import_module(home), name)
    except ImportError as error:
        raise _explained(error) from error
    globals()[name] = value  # the next look-up costs nothing
    return value


def _find_native() -> Any:
    """The native part. A clone of the source has none: that of the installed package is taken."""
    import sys
    from importlib import import_module
    from importlib.machinery import PathFinder

    elsewhere = [f"{entry}/pyprof" for entry in sys.path if entry]
    found = PathFinder.find_spec("pyprof._native", [*__path__, *elsewhere])
    if found is None or found.origin is None:
        raise AttributeError("the package pyprof has no native part")
    folder = found.origin.rpartition("/")[0]
    if folder not in __path__:
        __path__.append(folder)
    native = import_module("pyprof._native")
    if native.__version__ != __version__:
        raise ImportError(
            f"{__path__[0]} is pyprof {__version__} and the _native of {folder} is "
            f"{native.__version__}: install this source, with pip install {__path__[0]}/..",
            name="pyprof._native",
        )
    return native


def _explained(error: ImportError) -> ImportError:
    """What to do where the native part is missing, as in a clone of the source."""
    if "_native" not in str(error):
        return error
    return ImportError(
        f"{error}: {__path__[0]} holds no native part, so it is the source and not the installed "
        "package: install it with pip, or run from another folder",
        name="pyprof._native",
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
