"""What is done before this process ends, whichever way Python ends it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from pyprof import forks

#: A disk that does not answer must not keep a process that wants to leave at once.
_PATIENCE_S = 2.0

_callbacks: list[Callable[[], None]] = []
_leave = os._exit
_watching = False


def at_exit(callback: Callable[[], None]) -> Callable[[], None]:
    """Call at the end of the interpreter, of a multiprocessing child, or at ``os._exit``.

    The latter two skip ``atexit``. Returns what takes the request back.
    """
    util = sys.modules.get("multiprocessing.util")
    late = None if util is None else util.Finalize(None, callback, exitpriority=-100)
    _watch()
    _callbacks.append(callback)

    def forget() -> None:
        if late is not None:
            late.cancel()
        if callback in _callbacks:
            _callbacks.remove(callback)

    return forget


def _watch() -> None:
    """Hear of the end, also by ``os._exit``: forked children must not run their parent's exit.

    ``atexit`` is asked once, as up to Python 3.12 it keeps a place for all that was ever asked.
    """
    global _leave, _watching
    if not _watching:
        _watching = True
        atexit.register(_call_all)
        _leave = os._exit
        os._exit = _exit
        forks.call_in_child(_callbacks.clear)


def _exit(status: int) -> NoReturn:
    """Exit to the system with the given status, without normal exit processing."""
    if _callbacks and isinstance(status, int):
        # On a thread of its own, as this one may hold any lock: a signal handler leaves as well.
        try:
            thread = threading.Thread(target=_call_all, name="pyprof-exit", daemon=True)
            thread.start()
            thread.join(_PATIENCE_S)
        except RuntimeError:  # the interpreter is going down: atexit has called them all
            pass
    _leave(status)


def _call_all() -> None:
    """The last one first; one that fails keeps no other from its turn."""
    try:
        while _callbacks:
            _callbacks.pop()()
    finally:
        if _callbacks:
            _call_all()
