"""The machine at rest: measured for a while, kept in a file of its own, never another machine's."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from pyprof import host
from pyprof.errors import BaselineError

SCHEMA = "pyprof.baseline/1"
#: Word for "no baseline", where a file could be named.
NONE = "none"
#: Beyond these shares of the power at rest, it is said that the machine was not at rest.
UNSTEADY, BUSY = 0.10, 0.05

_MODELLED = "modelled"
_MOST_BYTES = 1 << 20


class Device(Protocol):
    """What identifies a channel: of a recording, a report or a machine."""

    @property
    def id(self) -> str:
        """As in reports."""

    @property
    def domain(self) -> str:
        """What kind of device."""

    @property
    def device(self) -> str:
        """Its name."""

    @property
    def uuid(self) -> str | None:
        """Its identity, if it has one."""

    @property
    def quality(self) -> str:
        """How it is known."""


@dataclass(frozen=True, slots=True)
class AtRest:
    """One channel's power at rest. ``low_w`` and ``high_w`` span its slices and its 95 % interval.

    ``drift_w`` is how much the power rose from the first half of the time to the second; None where
    the sensor is too slow to tell.
    """

    id: str
    domain: str
    device: str
    uuid: str | None
    quality: str
    power_w: float
    low_w: float
    high_w: float
    drift_w: float | None

    def is_of(self, device: Device) -> bool:
        """Whether that channel is the same device, read in the same way or another."""
        if (self.quality == _MODELLED) != (device.quality == _MODELLED):
            return False
        if self.uuid or device.uuid:
            return (self.uuid, self.domain) == (device.uuid, device.domain)
        return (self.id, self.domain, self.device) == (device.id, device.domain, device.device)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One look at the machine at rest. ``cpu_load`` is the busy share of its CPUs meanwhile."""

    made_utc: str
    duration_s: float
    cpu_load: float | None
    channels: tuple[AtRest, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Whose rest it is. ``sysfs``, ``nvml`` and ``simulate`` say where the sensors were found."""

    host: str | None
    machine_id: str | None
    cpu: str | None
    sysfs: str = "/sys"
    nvml: str | None = None
    simulate: str | None = None

    @classmethod
    def here(
        cls, sysfs: str = "/sys", nvml: str | None = None, simulate: str | None = None
    ) -> Place:
        """This machine."""
        kept = None if simulate is None else os.path.abspath(simulate)
        return cls(host.hostname(), host.machine_id(), host.cpu_name(), sysfs, nvml, kept)

    def is_host_of(self, other: Place) -> bool:
        """Whether both are one machine, as far as its marks tell."""
        if self.cpu and other.cpu and self.cpu != other.cpu:
            return False
        if self.machine_id and other.machine_id:
            return self.machine_id == other.machine_id
        return self.host is not None and self.host == other.host


@dataclass(frozen=True, slots=True)
class Baseline:
    """Measurements of one machine at rest, before and perhaps after the work."""

    place: Place
    measurements: tuple[Measurement, ...]

    def rest_of(self, device: Device) -> AtRest | None:
        """The device's power at rest: the mean of the measurements, over their whole spread."""
        found = [row for made in self.measurements for row in made.channels if row.is_of(device)]
        if not found:
            return None
        return replace(
            found[-1],
            power_w=sum(row.power_w for row in found) / len(found),
            low_w=min(row.low_w for row in found),
            high_w=max(row.high_w for row in found),
        )

    @property
    def duration_s(self) -> float:
        """How long it was looked at, all measurements together."""
        return sum(made.duration_s for made in self.measurements)

    @property
    def made_utc(self) -> str:
        """When the first measurement began."""
        return self.measurements[0].made_utc

    def why_not(self, place: Place, devices: Iterable[Device]) -> str | None:
        """Why it can't be used there, in words; None if it can."""
        if not self.place.is_host_of(place):
            return f"it is of {_named(self.place)}, and this is {_named(place)}"
        if not any(self.rest_of(device) for device in devices):
            return "it holds none of the devices that were measured here"
        return None

    def notes(self) -> tuple[str, ...]:
        """What makes it doubtful: a machine that was busy, a power that was not steady."""
        return tuple([*self._busy(), *self._unsteady()])

    def _busy(self) -> Iterable[str]:
        for made in self.measurements:
            if made.cpu_load is not None and made.cpu_load > BUSY:
                yield (
                    f"the CPUs were busy for {100 * made.cpu_load:.0f} % of the baseline of "
                    f"{made.made_utc[:19].replace('T', ' ')} UTC: that was not the machine at rest"
                )

    def _unsteady(self) -> Iterable[str]:
        seen: dict[str, AtRest] = {}
        for made in self.measurements:
            for row in made.channels:
                seen.setdefault(row.id, row)
        for row in seen.values():
            rest = self.rest_of(row)
            if rest and rest.high_w - rest.low_w > UNSTEADY * rest.power_w and rest.power_w > 0:
                yield (f"{row.id} was not steady at rest: {rest.low_w:.1f} to {rest.high_w:.1f} W")

    def with_more(self, made: Measurement) -> Baseline:
        """The same with one more measurement, as after the work."""
        return replace(self, measurements=(*self.measurements, made))

    def to_json(self, indent: int | None = None) -> str:
        """As the file and the recording keep it."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=indent)


def _named(place: Place) -> str:
    return " ".join(
        word for word in (f"host {place.host}", f"({place.cpu})" if place.cpu else "") if word
    )


# -- the file --------------------------------------------------------------------------------------


def default_path() -> Path:
    """Where this machine's baseline is kept: under XDG_STATE_HOME, by the machine's own id."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    name = re.sub(r"[^A-Za-z0-9._-]", "-", host.machine_id() or host.hostname() or "unknown")
    return folder / "pyprof" / f"baseline-{name[:40]}.json"


def load(path: str | os.PathLike[str]) -> Baseline:
    """The baseline in a file."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MOST_BYTES)
    except OSError as error:
        raise BaselineError(
            f"the baseline {os.fspath(path)} can't be read: {error.strerror}; "
            "make one with 'pyprof baseline' while the machine rests"
        ) from None
    except UnicodeDecodeError:
        raise BaselineError(f"{os.fspath(path)} is not a baseline of pyprof") from None
    return parse(text, os.fspath(path))


def parse(text: str, name: str) -> Baseline:
    """What ``to_json`` wrote; anything else is refused in one sentence."""
    try:
        found = json.loads(text)
        schema = found["schema"]
        if schema != SCHEMA:
            raise BaselineError(f"{name} has the schema {schema!r}, this pyprof reads {SCHEMA!r}")
        measurements = tuple(_measurement(row) for row in found["measurements"])
        place = _made(Place, found["place"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BaselineError(f"{name} is not a baseline of pyprof, or is damaged") from None
    if not measurements:
        raise BaselineError(f"{name} is damaged: it holds no measurement")
    return Baseline(place, measurements)


def save(baseline: Baseline, path: Path, *, overwrite: bool) -> None:
    """Writes the file in one step, so that a reader sees the old one or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not overwrite and os.path.lexists(path):
            raise BaselineError(f"{path} exists: give another name, or -f to overwrite it")
        with tempfile.NamedTemporaryFile(
            "w", encoding="ascii", dir=path.parent, prefix=f".{path.name}-", delete=False
        ) as file:
            file.write(baseline.to_json(indent=1) + "\n")
        os.replace(file.name, path)
    except OSError as error:
        raise BaselineError(f"the baseline {path} can't be written: {error.strerror}") from None


def _measurement(row: Mapping[str, Any]) -> Measurement:
    channels = tuple(_made(AtRest, each) for each in row["channels"])
    made: Measurement = _made(Measurement, {**row, "channels": channels})
    return made


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "float": (int, float),
    "float | None": (int, float, type(None)),
}


def _made(kind: type, row: Mapping[str, Any]) -> Any:
    """A value of plain fields; a foreign type in one of them is an error, a foreign key is not."""
    given = {field.name: row[field.name] for field in fields(kind)}
    for field in fields(kind):
        wanted = _TYPES.get(str(field.type))
        value = given[field.name]
        if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise TypeError(field.name)
        if isinstance(value, float) and value != value:
            raise ValueError(field.name)
    return kind(**given)


# -- which one -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """The baseline of a run, or why it has none, if that is worth saying."""

    baseline: Baseline | None
    note: str | None = None


def choose(named: str | None, place: Place, devices: Sequence[Device]) -> Chosen:
    """The file that was named, else this machine's own if it was measured by the same sensors.

    A named one that is of another machine is refused; one's own that does not fit is left out.
    """
    if named == NONE:
        return Chosen(None)
    if named is not None:
        baseline = load(named)
        why = baseline.why_not(place, devices)
        if why is not None:
            raise BaselineError(f"the baseline {named} can't be used: {why}")
        return Chosen(baseline)
    path = default_path()
    if not path.is_file():
        return Chosen(None)
    try:
        baseline = load(path)
    except BaselineError as error:
        return Chosen(None, str(error))
    if _look_of(baseline.place) != _look_of(place):
        return Chosen(None)
    why = baseline.why_not(place, devices)
    return Chosen(None, f"{path} is not used: {why}") if why else Chosen(baseline)


def _look_of(place: Place) -> tuple[str, str | None, str | None]:
    return place.sysfs, place.nvml, place.simulate
