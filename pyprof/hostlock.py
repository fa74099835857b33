"""Who of a run's processes samples which device of this host: one locked file a device."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyprof import forks, host

_PREFIX = "lock-"
_MOST_BYTES = 1 << 16
_TURN_TRIES, _TURN_WAIT_S = 100, 0.005

#: Key of all devices that belong to the machine as a whole: processors, memory, its meters.
NODE = "node"


class HostLock:
    """The devices of this host that this process samples for a run.

    A lock is an open file under ``flock``: the kernel gives it back when the process dies, however
    that happens. The file holds a note for whoever takes over.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is held yet."""
        self._folder = folder
        self._boot = _short(host.boot_id() or host.machine_id() or host.hostname() or "")
        self._held: dict[str, int] = {}
        self.lock = threading.RLock()
        self.identity: tuple[int, int] | None = None
        forks.protect(self)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the locks that are held."""
        return tuple(self._held)

    def take(self, keys: Iterable[str], note: str) -> frozenset[str]:
        """Those of the devices ``keys`` that nobody else samples; ``note`` is left in their files.

        Where there are no locks (some network file systems), or no file can be made, all are taken.
        """
        with self.lock, self._turn():
            return frozenset(key for key in sorted(set(keys)) if self._take(key, note))

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time, so that two that start together don't get half each."""
        turn = -1
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            turn = os.open(self._folder / f"{_PREFIX}turn", flags, 0o600)
            for _ in range(_TURN_TRIES):  # a stopped process must not stop others
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(_TURN_WAIT_S)
        try:
            yield
        finally:
            if turn >= 0:
                os.close(turn)

    def _take(self, key: str, note: str) -> bool:
        name = self._name(key)
        if name in self._held:
            return True
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._folder / name, flags, 0o600)
        except OSError:
            return True
        if not self._hold(name, descriptor):
            return False
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, note.encode(), 0)
        return True

    def _hold(self, name: str, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.stat(self._folder / name)
            still_there = os.path.samestat(found, os.fstat(descriptor))
        except BlockingIOError:
            still_there = False
        except FileNotFoundError:
            still_there = False
        except OSError:
            still_there = True
        if not still_there:
            os.close(descriptor)
            return False
        self._held[name] = descriptor
        return True

    def take_orphaned(self) -> str | None:
        """Takes what a dead process has sampled here; gives its note, or None if nothing is free.

        Costs a few µs a device while all are alive.
        """
        note = None
        with self.lock:
            for name in self._names():
                if name in self._held:
                    continue
                with contextlib.suppress(OSError):
                    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
                    descriptor = os.open(self._folder / name, flags)
                    if self._hold(name, descriptor):
                        note = os.pread(descriptor, _MOST_BYTES, 0).decode("utf-8", "replace")
        return note

    def _names(self) -> list[str]:
        try:
            found = os.listdir(self._folder)
        except OSError:
            return []
        return sorted(name for name in found if name.startswith(f"{_PREFIX}{self._boot}-"))

    def release(self, *, over: bool = False) -> None:
        """Gives all back. ``over``: the run has ended, and nobody is to take over."""
        with self.lock:
            forks.release(self)
            for name, descriptor in self._held.items():
                if over:
                    with contextlib.suppress(OSError):
                        os.unlink(self._folder / name)
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            self._held = {}

    def abandon(self) -> None:
        """In the child of a fork: what is locked stays its parent's, and falls with it alone."""
        self.lock = threading.RLock()
        for descriptor in self._held.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._held = {}

    def _name(self, key: str) -> str:
        return f"{_PREFIX}{self._boot}-{key if key == NODE else _short(key)}"


def remove_all(folder: Path) -> None:
    """Remove the lock files of a run that is over."""
    with contextlib.suppress(OSError):
        for file in folder.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                file.unlink()


def _short(text: str) -> str:
    """Letters and digits that stand for any text, without giving it away."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
