"""Names that stand for people and machines, in the place of those that give them away."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from pyprof import _native
from pyprof.layout import AGENT_KEY, Incident, Process

if TYPE_CHECKING:
    from pyprof.energy import EnergyReport, Source
    from pyprof.recording import Recording
    from pyprof.store import Head

#: In the environment of a run that names nobody: what its processes make their names with.
VARIABLE = "PYPROF_RUN_REDACT"
#: In ``meta`` of a recording that names nobody.
REDACTED_KEY = "redacted"

_DEVICE = r"\b(?:GPU|MIG|UUID)-[0-9A-Za-z]{4,}[-0-9A-Za-z/]*"
_UUID = r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
_SERIAL = r"(?i:\bserial(?: number)?[:= ]+)(?P<serial>[-0-9A-Za-z]{4,})"
_HOME = r"/(?:home|Users)/(?P<user>[^/\s:'\"]+)"
_ADDRESS = r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b"
_PATTERNS = (
    ("device", re.compile(_DEVICE), 0),
    ("id", re.compile(_UUID), 0),
    ("serial", re.compile(_SERIAL), "serial"),
    ("user", re.compile(_HOME), "user"),
    ("address", re.compile(_ADDRESS), 0),
)
#: Accounts of the system, which name no person, and words too common to be looked for in a text.
_NOBODY = frozenset(("root", "nobody", "daemon", "user", "ubuntu", "localhost", "host", ""))


class Redactor:
    """Gives each name one pseudonym: numbered, or made with a salt that several processes share."""

    def __init__(self, salt: str | None = None) -> None:
        """``salt`` None: pseudonyms are numbered in order of appearance."""
        self.salt = salt
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        for user in _own_names():
            self.name("user", user)
        for host in {socket.gethostname(), socket.gethostname().partition(".")[0]}:
            if salt is not None:
                self.name("host", host)

    def name(self, kind: str, name: str | None) -> str | None:
        """The pseudonym of a name; what is no name stays."""
        if not name:
            return name
        if name in self._names.values():
            return name
        if name not in self._names:
            self._names[name] = f"{kind}-{self._mark(kind, name)}"
        return self._names[name]

    def _mark(self, kind: str, name: str) -> str:
        if self.salt is not None:
            return hashlib.blake2b(f"{self.salt}{name}".encode(), digest_size=4).hexdigest()
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return str(self._counts[kind])

    def text(self, text: str) -> str:
        """A text with pseudonyms for all names that are known and all that look like one."""
        for kind, pattern, part in _PATTERNS:
            text = pattern.sub(lambda found, k=kind, p=part: self._within(found, k, p), text)  # type: ignore[misc]
        for name in sorted(self._names, key=len, reverse=True):
            if name.lower() not in _NOBODY and name in text:
                text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", self._names[name], text)
        return text

    def _within(self, found: re.Match[str], kind: str, part: int | str) -> str:
        name = found[part]
        if kind == "user" and name in _NOBODY:
            return found[0]
        start, end = found.start(part) - found.start(), found.end(part) - found.start()
        return f"{found[0][:start]}{self.name(kind, name)}{found[0][end:]}"

    def process(self, process: Process) -> Process:
        """A process without its host."""
        return replace(
            process,
            host=self.name("host", process.host),
            boot_id=self.name("boot", process.boot_id),
            machine_id=self.name("machine", process.machine_id),
            command=None if process.command is None else self.text(process.command),
            argv=None if process.argv is None else self.text(process.argv),
        )

    def channel(self, channel: _native.Channel) -> _native.Channel:
        """A channel without its device's identity."""
        return channel.replace(
            uuid=self.name("device", channel.uuid) or "",
            device=self.text(channel.device),
            reason=self.text(channel.reason),
        )

    def source(self, source: Source) -> Source:
        """A source without paths that name a user."""
        return replace(
            source,
            reason=None if source.reason is None else self.text(source.reason),
            remedy=None if source.remedy is None else self.text(source.remedy),
        )

    def head(self, head: Head) -> Head:
        """What a recording begins with. What an agent publishes later can't be joined to it."""
        meta = {key: self.text(text) for key, text in head.meta.items() if key != AGENT_KEY}
        return replace(
            head,
            meta={**meta, REDACTED_KEY: "1"},
            process=self.process(head.process),
            sources=[self.source(source) for source in head.sources],
            channels=[self.channel(channel) for channel in head.channels],
            incidents=self.incidents(head.incidents),
        )

    def incidents(self, incidents: Iterable[Incident]) -> list[Incident]:
        """Events without names in their words."""
        return [replace(each, text=self.text(each.text)) for each in incidents]


def _own_names() -> Iterable[str]:
    """Names of the user who runs this process."""
    found = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
    try:
        import pwd

        found.add(pwd.getpwuid(os.getuid()).pw_name)
    except (ImportError, KeyError):
        pass
    return sorted(found - _NOBODY)


_active: Redactor | None = None
_looked = False


def active() -> Redactor | None:
    """What this process' recordings are written with; None: as things are."""
    global _active, _looked
    if not _looked:
        salt = os.environ.get(VARIABLE)
        _active, _looked = None if not salt else Redactor(salt), True
    return _active


def salt() -> str | None:
    """What the processes of this run make their names with."""
    names = active()
    return None if names is None else names.salt


def activate() -> None:
    """Write recordings without names from now on."""
    global _active, _looked
    _active, _looked = fresh(), True


def fresh() -> Redactor:
    """One whose pseudonyms nobody can undo: its salt is kept nowhere."""
    return Redactor(os.urandom(16).hex())


def redact(recording: Recording) -> tuple[Recording, Redactor]:
    """A recording as it would be had nobody been named, and the names that it uses."""
    names = Redactor()
    processes = tuple(names.process(process) for process in recording.processes)
    for host in {process.host for process in recording.processes if process.host}:
        names.name("host", host.partition(".")[0])
    return replace(
        recording,
        path=None,
        meta={key: names.text(text) for key, text in recording.meta.items()},
        processes=processes,
        sources=tuple(names.source(source) for source in recording.sources),
        channels=tuple(names.channel(channel) for channel in recording.channels),
        incidents=tuple(names.incidents(recording.incidents)),
        findings=tuple(names.incidents(recording.findings)),
        defects=tuple(names.text(defect) for defect in recording.defects),
    ), names


def redact_stages(report: EnergyReport, names: Redactor | None) -> EnergyReport:
    """The report with stages that name nobody: their names are the program's own words."""
    if names is None:
        return report
    return replace(
        report,
        stage_rows=tuple(replace(row, path=names.text(row.path)) for row in report.stage_rows),
        events=tuple(replace(event, text=names.text(event.text)) for event in report.events),
    )
