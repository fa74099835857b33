"""What must hold when the workload forks: no transaction open, nothing of the parent's touched."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Protocol


class Guarded(Protocol):
    """Something with a file that a fork copies."""

    lock: threading.RLock
    identity: tuple[int, int] | None

    def abandon(self) -> None:
        """In the child: neither use nor close what belongs to the parent."""


_WAIT_S = 2.0
_guarded: set[Guarded] = set()
_held = threading.local()
_in_child: list[Callable[[], None]] = []
_leaked: list[object] = []


def protect(thing: Guarded) -> None:
    """Hold the lock of ``thing`` during every fork, and abandon it in the child."""
    _guarded.add(thing)


def release(thing: Guarded) -> None:
    """The end of protection."""
    _guarded.discard(thing)


def guarded() -> tuple[Guarded, ...]:
    """Everything that is protected now."""
    return tuple(_guarded)


def holds(identity: tuple[int, int]) -> bool:
    """Whether this process has the file of that device and inode open."""
    return any(thing.identity == identity for thing in guarded())


def call_in_child(callback: Callable[[], None]) -> None:
    """Have ``callback`` run in the child of every later fork, after all was abandoned."""
    if callback not in _in_child:
        _in_child.append(callback)


def leak(thing: object) -> None:
    """Never finalise ``thing`` in this process: what it closes belongs to the parent as well."""
    _leaked.append(thing)
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _before() -> None:
    """The wait is bounded: a slow disk must not stop the workload from forking."""
    _held.things = [thing for thing in guarded() if thing.lock.acquire(timeout=_WAIT_S)]


def _after_in_parent() -> None:
    for thing in getattr(_held, "things", ()):
        thing.lock.release()
    _held.things = []


def _after_in_child() -> None:
    _held.things = []
    for thing in guarded():
        thing.abandon()
    _guarded.clear()
    for callback in _in_child:
        callback()


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
