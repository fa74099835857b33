"""A machine from a TOML file."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sim import waveform
from sim.fault import NO_ENERGY_COUNTER, NO_POWER, Fault, NvmlError, Span
from sim.gpu import Gpu
from sim.machine import Machine
from sim.ready import READY
from sim.sensor import Sensor
from sim.waveform import Signal
from sim.zone import RAPL, Zone

Value = TypeVar("Value", Gpu, Zone, Sensor, Machine)
Table = Mapping[str, Any]


class DescriptionError(ValueError):
    """The file does not describe a machine; the text says where."""


def load(path: Path) -> Machine:
    if sys.version_info < (3, 11):
        raise DescriptionError("describing a machine in TOML takes Python 3.11 or newer")
    tomllib = importlib.import_module("tomllib")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DescriptionError(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DescriptionError(f"{path} is not TOML: {error}") from error
    return machine_of(table, path.parent)


def machine_of(table: Table, folder: Path) -> Machine:
    rest = dict(table)
    if name := rest.pop("ready", None):
        if name not in READY:
            raise DescriptionError(f"no ready machine '{name}': there are {', '.join(READY)}")
        return _made(Machine, READY[name](), rest)
    gpus = tuple(_gpu(each, folder) for each in rest.pop("gpu", ()))
    zones = tuple(_zone(each, folder) for each in rest.pop("zone", ()))
    return _made(Machine, Machine(gpus, zones), rest)


def _made(kind: type[Value], base: Value, table: Table) -> Value:
    """``base`` with what the table says; a key that ``kind`` does not have is named."""
    known = {each.name for each in dataclasses.fields(kind) if each.init}
    for key in table:
        if key not in known:
            what = kind.__name__.lower()
            raise DescriptionError(f"a {what} has no '{key}': it has {', '.join(sorted(known))}")
    try:
        return dataclasses.replace(base, **table)
    except (TypeError, ValueError) as error:
        raise DescriptionError(str(error)) from error


def _gpu(table: Table, folder: Path) -> Gpu:
    base, rest = Gpu(), dict(table)
    values: dict[str, Any] = {}
    for key in ("signal", "module", "memory"):
        if key in rest:
            values[key] = _signal(rest.pop(key), folder)
    for key in ("counter", "instant", "average", "samples"):
        if key in rest:
            values[key] = _made(Sensor, getattr(base, key), rest.pop(key))
    faults = tuple(_fault(each) for each in rest.pop("faults", ()))
    faults += NO_ENERGY_COUNTER if rest.pop("no_energy", False) else ()
    faults += NO_POWER if rest.pop("no_power", False) else ()
    values |= {"hangs": _spans(rest.pop("hangs", ())), "faults": faults}
    for key in ("capability", "resets_s"):
        if key in rest:
            values[key] = tuple(rest.pop(key))
    return _made(Gpu, base, {**rest, **values})


def _zone(table: Table, folder: Path) -> Zone:
    rest = dict(table)
    for key in ("name", "signal"):
        if key not in rest:
            raise DescriptionError(f"a zone needs a {key}")
    base = Zone(rest.pop("name"), _signal(rest.pop("signal"), folder))
    values: dict[str, Any] = {"sensor": _made(Sensor, RAPL, rest.pop("sensor", {}))}
    values["children"] = tuple(_zone(each, folder) for each in rest.pop("children", ()))
    values["resets_s"] = tuple(rest.pop("resets_s", ()))
    for key in ("gone", "empty", "frozen"):
        values[key] = _spans(rest.pop(key, ()))
    return _made(Zone, base, {**rest, **values})


def _spans(pairs: Any) -> tuple[Span, ...]:
    return tuple(Span(float(start_s), float(end_s)) for start_s, end_s in pairs)


def _fault(table: Table) -> Fault:
    rest = dict(table)
    try:
        code = NvmlError[rest.pop("code")]
        return Fault(Span(rest.pop("start_s"), rest.pop("end_s")), code, **rest)
    except (KeyError, TypeError) as error:
        names = ", ".join(each.name for each in NvmlError)
        raise DescriptionError(
            f"a fault has start_s, end_s, code (one of {names}) and perhaps a target: {error}"
        ) from error


def _csv(folder: Path, file: str, *, repeat: bool = False) -> Signal:
    return waveform.recorded(folder / file, repeat=repeat)


def _steps(levels: list[tuple[float, float]], *, repeat: bool = True) -> Signal:
    return waveform.steps(levels, repeat=repeat)


KINDS: dict[str, Callable[..., Signal]] = {
    "constant": waveform.constant,
    "square": waveform.square,
    "ramp": waveform.ramp,
    "triangle": waveform.triangle,
    "bursts": waveform.bursts,
    "training": waveform.training,
    "steps": _steps,
}


def _signal(table: Table, folder: Path) -> Signal:
    rest = dict(table)
    kind = rest.pop("kind", None)
    try:
        if kind == "csv":
            return _csv(folder, **rest)
        return KINDS[kind](**rest)
    except KeyError:
        names = ", ".join([*KINDS, "csv"])
        raise DescriptionError(f"no signal of kind '{kind}': there are {names}") from None
    except (TypeError, ValueError, OSError) as error:
        raise DescriptionError(f"signal of kind '{kind}': {error}") from error
