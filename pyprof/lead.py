"""Taking part in the sampling of a run: one process reads each device, others wait for its end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyprof import hostlock, privacy
from pyprof.errors import PyprofError
from pyprof.notice import say
from pyprof.sampling import Sampling, Scheduling
from pyprof.writer import shelter

if TYPE_CHECKING:
    from pyprof import _native
    from pyprof.hardware import Look, Machine
    from pyprof.session import Session

MakeSession = Callable[["Look", Sampling, hostlock.HostLock], "Session"]


def note_of(look: Look, sampling: Sampling) -> str:
    """What a process that takes over needs to sample in the same way."""
    if privacy.active() is not None:
        return ""  # paths may name the user
    kept = asdict(look)
    for name in ("sysfs", "nvml", "simulate", "meter", "agent"):
        path = kept[name]
        if path is not None and os.path.exists(path):  # a bare library name is left alone
            kept[name] = os.path.abspath(path)
    return json.dumps({"look": kept, "sampling": asdict(sampling)})


def parse_note(note: str) -> tuple[Look, Sampling]:
    """What ``note_of`` wrote; the system's own places and the default pace where it is damaged."""
    from pyprof.hardware import Look

    try:
        kept = json.loads(note)
        known = {field.name for field in fields(Look)}
        given: dict[str, Any] = {k: v for k, v in kept["look"].items() if k in known}
        if given.get("sources") is not None:
            given["sources"] = tuple(given["sources"])
        how = kept["sampling"]
        return Look(**given), Sampling(**{**how, "scheduling": Scheduling(**how["scheduling"])})
    except (ValueError, TypeError, KeyError, AttributeError):
        return Look(), Sampling()


def key_of(channel: _native.Channel) -> str:
    """The lock of a channel's device."""
    return channel.uuid if channel.uuid and channel.scope == "devices" else hostlock.NODE


def claim(machine: Machine, lock: hostlock.HostLock, note: str) -> Machine:
    """``machine`` without the devices that another process of the run samples."""
    rows = (*machine.channels, *machine.borrowed, *machine.unmeasured)
    ours = lock.take([key_of(row) for row in rows], note)
    if machine.native is not None:
        for channel in machine.channels:
            if key_of(channel) not in ours:
                machine.native.drop(channel.id)
    left = tuple(row for row in machine.channels if key_of(row) in ours)
    return replace(
        machine,
        native=machine.native if left else None,
        channels=left,
        borrowed=tuple(row for row in machine.borrowed if key_of(row) in ours),
        unmeasured=tuple(row for row in machine.unmeasured if key_of(row) in ours),
    )


class Lead:
    """This process as one that samples for a run, now or when another one has died."""

    def __init__(self, folder: Path, make: MakeSession) -> None:
        """``make`` prepares a session inside the folder."""
        self._folder = folder
        self._make = make
        self._lock = threading.RLock()
        self._waiting = hostlock.HostLock(folder)
        self._sessions: list[Session] = []
        self._thread: threading.Thread | None = None
        self._ended = False

    def begin(self, look: Look, sampling: Sampling) -> None:
        """Sample what nobody samples yet."""
        lock = hostlock.HostLock(self._folder)
        session = self._make(look, sampling, lock)
        session.start()
        with self._lock:
            self._sessions.append(session)

    def watch(self) -> None:
        """To be called often: takes over from a process that died."""
        if self._ended or (self._thread is not None and self._thread.is_alive()):
            return
        note = self._waiting.take_orphaned()
        if note is None:
            return
        lock, self._waiting = self._waiting, hostlock.HostLock(self._folder)
        self._thread = threading.Thread(
            target=self._take_over, args=(note, lock), name="pyprof-lead", daemon=True
        )
        self._thread.start()

    def _take_over(self, note: str, lock: hostlock.HostLock) -> None:
        """Opening hardware may take seconds: stages must not wait for it."""
        shelter()
        try:
            look, sampling = parse_note(note)
            session = self._make(look, sampling, lock)
            with self._lock:
                if self._ended:
                    lock.release()
                    return
                session.start()
                self._sessions.append(session)
        except Exception as error:  # the workload goes on, and so do its stages
            lock.release()
            reason = error if isinstance(error, PyprofError) else f"{type(error).__name__}: {error}"
            say(f"sampling could not be taken over from a process that ended ({reason})")
            self._ended = True

    def end(self) -> None:
        """Stop sampling; another process may take over."""
        with self._lock:
            self._ended = True
            self._waiting.release()
            for session in self._sessions:
                session.stop()
            self._sessions = []

    def flush(self) -> None:
        """Commit what this process has sampled up to now."""
        for session in tuple(self._sessions):
            session.flush()
