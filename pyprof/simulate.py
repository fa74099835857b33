"""Signals of power from a TOML file, read through a simulated sensor: see ``docs/simulate.md``."""

from __future__ import annotations

import csv
import difflib
import importlib
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyprof.energy import DOMAINS
from pyprof.errors import PyprofError, UsageError

# The parser of newer Pythons, and its back-port for 3.10.
_PARSER = "tomllib" if sys.version_info >= (3, 11) else "tomli"
_NS_PER_S = 1_000_000_000
_LONGEST_S = 1e9
_MOST_WATTS = 1e9
# Counters are 64 bits wide, and the native sensor keeps two of them free.
_MOST_COUNTS = 2**62

#: Power runs straight between two values: (duration_ns, start_w, end_w).
Segment = tuple[int, float, float]


@dataclass(frozen=True, slots=True)
class Sensor:
    """How the signal is shown: when, in which steps, over which window."""

    counter: bool = True
    period_ns: int = 100_000_000
    phase_ns: int = 0
    jitter: float = 0.0
    quantum_j: float = 1e-3
    range_counts: int = 0
    window_ns: int = 0
    start_count: int = 0


@dataclass(frozen=True, slots=True)
class Signal:
    """One channel of the file."""

    id: str
    domain: str
    device: str
    segments: tuple[Segment, ...]
    repeat: bool
    sensor: Sensor = field(default_factory=Sensor)
    parent: str = ""
    counted: bool = True

    def channel_fields(self) -> dict[str, Any]:
        """What a native channel says of it."""
        counter = self.sensor.counter
        return {
            "id": self.id,
            "domain": self.domain,
            "device": self.device,
            "parent": self.parent,
            "counted": self.counted,
            "scope": "devices" if self.domain == "gpu" else "node",
            "quality": "measured" if counter else "derived",
            "kind": "counter" if counter else "gauge",
            "range": self.sensor.range_counts,
            "reason": "" if self.counted else "the file of signals does not count it",
        }


def read_signals(path: str) -> list[Signal]:
    """Every ``[[channel]]`` of the file, in its order."""
    top = _Section(_read_toml(path), path)
    channels = top.tables("channel")
    top.finish()
    folder = os.path.dirname(path)
    signals = [
        _signal(_Section(table, f"{path}, channel {number}"), folder)
        for number, table in enumerate(channels, start=1)
    ]
    for signal in signals:
        if [other.id for other in signals].count(signal.id) > 1:
            raise UsageError(f"{path}: the id '{signal.id}' is given to several channels")
    return signals


def _read_toml(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            table: dict[str, Any] = importlib.import_module(_PARSER).loads(file.read())
    except ImportError:
        raise UsageError(f"{path}: TOML on Python 3.10 needs a parser: pip install tomli") from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path} is not valid TOML: {reason}") from None
    return table


# -- one channel -----------------------------------------------------------------------------------


def _signal(section: _Section, folder: str) -> Signal:
    id_ = section.text("id")
    section.where = f"{section.where} ('{id_}')"
    kind = section.choice("kind", tuple(_KINDS))
    shape = _KINDS[kind]
    segments = tuple(shape.build(section, folder))
    signal = Signal(
        id=id_,
        domain=section.choice("domain", DOMAINS, _domain_of(id_)),
        device=section.text("device", f"simulated {id_}"),
        segments=segments,
        repeat=section.flag("repeat", shape.repeats),
        sensor=_sensor(section.table("sensor")),
        parent=section.text("parent", ""),
        counted=section.flag("counted", True),
    )
    section.finish()
    return signal


def _domain_of(id_: str) -> str | None:
    """The domain that an id of the usual form tells, as gpu0 and package-1 do."""
    stem = id_.rpartition("/")[2].rstrip("0123456789").rstrip("-")
    return stem if stem in DOMAINS else None


def _sensor(section: _Section) -> Sensor:
    counter = section.choice("type", ("counter", "gauge"), "counter") == "counter"
    sensor = Sensor(
        counter=counter,
        period_ns=section.duration_ns("period_s", Sensor().period_ns / _NS_PER_S),
        phase_ns=section.duration_ns("phase_s", 0.0, zero=True),
        jitter=section.number("jitter", 0.0, most=0.99),
        window_ns=section.duration_ns("window_s", 0.0, zero=True),
        **(_counter_fields(section) if counter else {}),
    )
    section.finish()
    return sensor


def _counter_fields(section: _Section) -> dict[str, Any]:
    quantum_j = section.number("quantum_j", 1e-3, least=1e-9)
    wrap_counts = section.number("wrap_j", 0.0, most=_MOST_COUNTS * quantum_j) / quantum_j
    start_counts = section.number("start_j", 0.0, most=_MOST_COUNTS * quantum_j) / quantum_j
    range_counts, start_count = round(wrap_counts), round(start_counts)
    if range_counts and start_count >= range_counts:
        raise UsageError(f"{section.where}: start_j must be below wrap_j")
    return {"quantum_j": quantum_j, "range_counts": range_counts, "start_count": start_count}


# -- shapes ----------------------------------------------------------------------------------------


def _constant(section: _Section, _: str) -> Iterator[Segment]:
    power_w = section.watts("watts")
    yield (_NS_PER_S, power_w, power_w)


def _square(section: _Section, _: str) -> Iterator[Segment]:
    """High for the share ``duty`` of each period, then low."""
    low_w, high_w = section.watts("low_w"), section.watts("high_w")
    period_ns = section.duration_ns("period_s")
    high_ns = round(period_ns * section.number("duty", 0.5, most=1.0))
    if high_ns > 0:
        yield (high_ns, high_w, high_w)
    if high_ns < period_ns:
        yield (period_ns - high_ns, low_w, low_w)


def _ramp(section: _Section, _: str) -> Iterator[Segment]:
    yield (section.duration_ns("duration_s"), section.watts("from_w"), section.watts("to_w"))


def _triangle(section: _Section, _: str) -> Iterator[Segment]:
    low_w, high_w = section.watts("low_w"), section.watts("high_w")
    period_ns = max(section.duration_ns("period_s"), 2)
    yield (period_ns // 2, low_w, high_w)
    yield (period_ns - period_ns // 2, high_w, low_w)


def _steps(section: _Section, _: str) -> Iterator[Segment]:
    """Pairs of seconds and watts."""
    pairs = section.items("steps")
    where = f"{section.where}: steps"
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise UsageError(f"{where} must be pairs [seconds, watts], not {pair!r}")
        seconds = _number(pair[0], where, least=0.0, most=_LONGEST_S)
        power_w = _number(pair[1], where, least=0.0, most=_MOST_WATTS)
        yield (_to_ns(seconds, where), power_w, power_w)


def _samples(section: _Section, folder: str) -> Iterator[Segment]:
    """Samples with the header ``time_s,power_w``, straight from one to the next."""
    path = os.path.join(folder, section.text("file"))
    times_s, powers_w = _read_samples(path)
    ends = zip(times_s, times_s[1:], powers_w, powers_w[1:], strict=False)
    for line, (from_s, to_s, from_w, to_w) in enumerate(ends, start=3):
        if to_s <= from_s:
            raise UsageError(f"{path}, line {line}: time_s must grow from line to line")
        yield (_to_ns(to_s - from_s, f"{path}, line {line}"), from_w, to_w)


def _read_samples(path: str) -> tuple[list[float], list[float]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header, rows = set(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} can't be read: {reason}") from None
    if not {"time_s", "power_w"} <= header:
        raise UsageError(f"{path} needs the header time_s,power_w")
    if len(rows) < 2:
        raise UsageError(f"{path} needs two samples or more")
    columns = ("time_s", -_LONGEST_S, _LONGEST_S), ("power_w", 0.0, _MOST_WATTS)
    times_s, powers_w = (
        [_cell(row[name], f"{path}, line {i}: {name}", low, high) for i, row in enumerate(rows, 2)]
        for name, low, high in columns
    )
    return times_s, powers_w


def _cell(text: str | None, where: str, least: float, most: float) -> float:
    try:
        value = float(text or "")
    except ValueError:
        raise UsageError(f"{where} is not a number: {text!r}") from None
    return _number(value, where, least=least, most=most)


def _recorded(section: _Section, folder: str) -> Iterator[Segment]:
    """Mean power of a recorded channel, step by step."""
    path = os.path.join(folder, section.text("file"))
    channel_id = section.text("channel")
    step_ns = section.duration_ns("step_s", 0.1)
    powers_w = _recorded_powers(path, channel_id, step_ns)
    known = [number for number, power_w in enumerate(powers_w) if power_w is not None]
    if not known:
        raise UsageError(f"{path}: no energy of the channel '{channel_id}' was recorded")
    for power_w in powers_w[known[0] : known[-1] + 1]:
        if power_w is None:
            raise UsageError(
                f"{path}: the channel '{channel_id}' has a gap: export it and mend it as CSV"
            )
        yield (step_ns, power_w, power_w)


def _recorded_powers(path: str, channel_id: str, step_ns: int) -> list[float | None]:
    from pyprof import _native
    from pyprof.loading import load

    try:
        recording = load(path)
    except PyprofError as error:
        raise UsageError(str(error)) from None
    ids = [channel.id for channel in recording.channels]
    if channel_id not in ids:
        raise UsageError(f"{path} has no channel '{channel_id}': it has {', '.join(ids)}")
    steps = (recording.end_ns - recording.start_ns) // step_ns
    if steps < 1:
        raise UsageError(f"{path} is shorter than a step of {step_ns / _NS_PER_S:g} s")
    end_ns = recording.start_ns + steps * step_ns
    account = _native.Account(recording.channels, recording.start_ns, end_ns, recording.phase)
    for frames in recording.frames():
        account.add_frames(frames)
    rows = account.series(recording.start_ns, end_ns, steps)
    energies_j = [row[ids.index(channel_id)] for row in rows]
    step_s = step_ns / _NS_PER_S
    return [None if joules is None else max(joules, 0.0) / step_s for joules in energies_j]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How segments are made of a section, and whether they repeat unless it is said."""

    build: Callable[[_Section, str], Iterator[Segment]]
    repeats: bool = False


_KINDS = {
    "constant": _Kind(_constant, True),
    "square": _Kind(_square, True),
    "ramp": _Kind(_ramp),
    "triangle": _Kind(_triangle, True),
    "steps": _Kind(_steps),
    "csv": _Kind(_samples),
    "recording": _Kind(_recorded),
}


# -- reading keys ----------------------------------------------------------------------------------


def _number(value: object, where: str, *, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{where} must be a number, not {value!r}")
    if not least <= value <= most:
        raise UsageError(f"{where} must lie between {least:g} and {most:g}, not {value!r}")
    return float(value)


def _to_ns(seconds: float, where: str) -> int:
    duration_ns = round(seconds * _NS_PER_S)
    if duration_ns < 1:
        raise UsageError(f"{where} must be a time above zero, not {seconds:g} s")
    return duration_ns


_MISSING = object()


class _Section:
    """One table of the file, read key by key; :meth:`finish` refuses what nobody asked for."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table = table
        self._asked: list[str] = []
        self.where = where

    def _value(self, key: str, default: object) -> object:
        self._asked.append(key)
        value = self._table.get(key, default)
        if value is _MISSING:
            raise UsageError(f"{self.where}: the key '{key}' is missing")
        return value

    def text(self, key: str, default: object = _MISSING) -> str:
        value = self._value(key, default)
        if not isinstance(value, str) or (default is _MISSING and not value):
            raise UsageError(f"{self.where}: {key} must be a text, not {value!r}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise UsageError(f"{self.where}: {key} must be true or false, not {value!r}")
        return value

    def choice(self, key: str, known: Sequence[str], default: str | None = None) -> str:
        value = self._value(key, _MISSING if default is None else default)
        if value not in known:
            raise UsageError(
                f"{self.where}: {key} must be one of {', '.join(known)}, not {value!r}"
            )
        return str(value)

    def number(
        self, key: str, default: object = _MISSING, *, least: float = 0.0, most: float = math.inf
    ) -> float:
        value = self._value(key, default)
        return _number(value, f"{self.where}: {key}", least=least, most=most)

    def watts(self, key: str) -> float:
        return self.number(key, most=_MOST_WATTS)

    def duration_ns(self, key: str, default: object = _MISSING, *, zero: bool = False) -> int:
        seconds = self.number(key, default, most=_LONGEST_S)
        return 0 if zero and seconds == 0 else _to_ns(seconds, f"{self.where}: {key}")

    def items(self, key: str) -> list[Any]:
        value = self._value(key, _MISSING)
        if not isinstance(value, list) or not value:
            raise UsageError(f"{self.where}: {key} must be a list with something in it")
        return value

    def tables(self, key: str) -> list[dict[str, Any]]:
        value = self._value(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise UsageError(f"{self.where}: write each channel under a heading [[{key}]]")
        if not value:
            raise UsageError(f"{self.where} has no [[{key}]]: there is nothing to simulate")
        return value

    def table(self, key: str) -> _Section:
        value = self._value(key, {})
        if not isinstance(value, dict):
            raise UsageError(f"{self.where}: {key} must be a table")
        return _Section(value, f"{self.where}, {key}")

    def finish(self) -> None:
        """Refuse the first key that means nothing here, with the nearest that does."""
        for key in self._table:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                hint = f": did you mean '{near[0]}'?" if near else ""
                raise UsageError(f"{self.where}: unknown key '{key}'{hint}")
