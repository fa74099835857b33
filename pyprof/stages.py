"""The stage mark's Python side: nothing is imported here before it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyprof import _native
from pyprof._native import stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["stage"]


def _decorate(mark: stage, function: Callable[..., Any]) -> Callable[..., Any]:
    from pyprof.decorators import decorate

    return decorate(mark, function)


def _ask_for_run() -> None:
    """At the first mark: only inside a run is more of pyprof imported."""
    if "PYPROF_RUN" in os.environ:
        from pyprof.stagelog import enter

        enter()


def _wait_for_devices() -> object:
    """At both ends of a stage with ``sync=True``: more of pyprof is imported by then only."""
    from pyprof.sync import wait

    return wait()


_native.set_decorator(_decorate)
_native.set_framework(_wait_for_devices)
_native.set_stage_hook(_ask_for_run)
