"""The inputs of a published case: which names are understood, their units and their ranges.

Inside, energies are kWh, masses kg and powers W; the ending of a name says what it is given in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyprof.carbon.toml import refuse_unknown
from pyprof.carbon.units import JOULES_PER_KWH, KG_PER_LB, require_number
from pyprof.errors import UsageError

ENERGY_UNITS = {"wh": 1e-3, "kwh": 1.0, "mwh": 1e3, "gwh": 1e6, "j": 1.0 / JOULES_PER_KWH}
MASS_UNITS = {"g": 1e-3, "kg": 1.0, "t": 1e3, "kt": 1e6, "lb": KG_PER_LB}
_POWER = {"watts": 1.0, "kw": 1e3}

_ENERGY_INPUTS = (
    "energy",
    "total",
    "dynamic",
    "idle",
    "infrastructure",
    "gpu",
    "cpu",
    "ram",
    "training",
    "finetuning",
)
_MASS_INPUTS = ("server_embodied", "gpu_embodied", "embodied", "sci_embodied")
_SYNONYMS = {
    "device_hours": "gpu_hours",
    "reserved_device_hours": "reserved_gpu_hours",
    "gpus": "devices",
    "nodes": "servers",
    "node_hours": "server_hours",
    "reserved_node_hours": "reserved_server_hours",
    "hours_reserved": "reserved_hours",
}
_POWER_INPUTS = ("gpu", "device")
_PLAIN_INPUTS = (
    "gpu_hours",
    "server_hours",
    "reserved_gpu_hours",
    "reserved_server_hours",
    "reserved_hours",
    "hours",
    "days",
    "window_days",
    "days_divisor",
    "devices",
    "servers",
    "gpus_per_server",
    "requests",
    "requests_per_day",
    "failed_requests",
    "functional_units",
    "lifetime_years",
    "hours_per_year",
    "utilisation",
    "pue",
    "time_reserved_hours",
    "expected_lifespan_hours",
    "resources_reserved",
    "total_resources",
)
_FLAGS = ("energy_includes_pue",)


def _spellings() -> dict[str, tuple[str, float]]:
    """Every input name that is understood: its base name and what to multiply by."""
    names = {name: (name, 1.0) for name in _PLAIN_INPUTS}
    for stem in _ENERGY_INPUTS:
        names.update({f"{stem}_{unit}": (f"{stem}_kwh", by) for unit, by in ENERGY_UNITS.items()})
    for unit, by in ENERGY_UNITS.items():
        names[f"rows_{unit}"] = ("rows_kwh", by)
        for what in ("inference", "request"):
            names[f"{unit}_per_{what}"] = ("kwh_per_request", by)
    for stem in _MASS_INPUTS:
        names.update({f"{stem}_{unit}": (f"{stem}_kg", by) for unit, by in MASS_UNITS.items()})
    for stem in _POWER_INPUTS:
        names.update({f"{stem}_{unit}": ("device_watts", by) for unit, by in _POWER.items()})
    names.update({"watts_total": ("watts_total", 1.0), "kw_total": ("watts_total", 1e3)})
    for mass, kg in MASS_UNITS.items():
        for energy, kwh in (("kwh", 1.0), ("mwh", 1e3)):
            names[f"factor_{mass}_per_{energy}"] = ("factor_kg_per_kwh", kg / kwh)
    names.update({f"device_embodied_{unit}": names[f"gpu_embodied_{unit}"] for unit in MASS_UNITS})
    names.update({other: (name, 1.0) for other, name in _SYNONYMS.items()})
    return names


INPUTS = _spellings()
INPUT_NAMES = (*sorted(INPUTS), *_FLAGS)
_USUAL_SPELLING = {"factor_kg_per_kwh": "factor_g_per_kwh", "device_watts": "gpu_watts"}
_AT_LEAST_ONE = ("pue",)
_ABOVE_ZERO = (
    "days_divisor",
    "window_days",
    "gpus_per_server",
    "requests",
    "functional_units",
    "lifetime_years",
    "hours_per_year",
    "utilisation",
    "expected_lifespan_hours",
    "total_resources",
    "kwh_per_request",
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of one case, in base units; ``where`` names the case in complaints."""

    values: Mapping[str, float]
    rows_kwh: tuple[float, ...] | None
    energy_includes_pue: bool
    where: str

    def get(self, name: str) -> float | None:
        """A value, or None."""
        return self.values.get(name)

    def need(self, name: str) -> float:
        """A value that must be there."""
        value = self.values.get(name)
        if value is None:
            asked = _USUAL_SPELLING.get(name, name)
            raise UsageError(f"{self.where}: the input {asked!r} is missing")
        return value

    @property
    def pue(self) -> float:
        """The PUE; none given is 1."""
        return self.values.get("pue", 1.0)


def read_inputs(table: Mapping[str, Any], where: str) -> Inputs:
    """Named inputs as written in a file; an unknown name is refused by name."""
    refuse_unknown(table, INPUT_NAMES, where, "input")
    values: dict[str, float] = {}
    rows: tuple[float, ...] | None = None
    for name, value in table.items():
        if name in _FLAGS:
            continue
        base, by = INPUTS[name]
        if base in values or (base == "rows_kwh" and rows is not None):
            raise UsageError(f"{where}: {name!r} says again what another input says")
        if base == "rows_kwh":
            rows = _read_rows(value, by, f"{where}: {name}")
        else:
            values[base] = _read_value(value, base, f"{where}: {name}") * by
    return Inputs(values, rows, _read_flag(table, where), where)


def _read_value(value: object, base: str, what: str) -> float:
    """One number within the range that its name allows."""
    low = 1.0 if base in _AT_LEAST_ONE else 0.0
    high = 1.0 if base == "utilisation" else math.inf
    return require_number(value, what, low=low, high=high, above=base in _ABOVE_ZERO)


def _read_rows(value: object, by: float, what: str) -> tuple[float, ...]:
    """A list of numbers, or a table of them."""
    items = list(value.values()) if isinstance(value, Mapping) else value
    if not isinstance(items, list) or not items:
        raise UsageError(f"{what} must be a list of numbers")
    return tuple(require_number(item, what) * by for item in items)


def _read_flag(table: Mapping[str, Any], where: str) -> bool:
    """Whether the stated energies have the PUE inside."""
    value = table.get("energy_includes_pue", False)
    if not isinstance(value, bool):
        raise UsageError(f"{where}: energy_includes_pue must be true or false")
    return value
