"""Every accounting choice in one frozen value, checked when it is made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from pyprof.carbon.factor import LIFECYCLE, check_kind, factor_from_dict, user_factor
from pyprof.carbon.grid import Place, Resolution, find_factor
from pyprof.carbon.units import require_number
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from pyprof.carbon.embodied import Holding
    from pyprof.carbon.intensity import Intensity
    from pyprof.carbon.toml import Section

NO_PLACE = (
    "no place is set, so there is no footprint: give a zone (--zone FR, PYPROF_ZONE=FR, or "
    "zone = 'FR' under [tool.pyprof]) or a factor in g/kWh"
)
_TEXTS = ("zone", "factor_table", "currency", "market_source", "functional_unit")
# name: (low, high, whether low itself is excluded)
_NUMBERS = {
    "pue": (1.0, float("inf"), False),
    "factor_g_per_kwh": (0.0, float("inf"), False),
    "market_g_per_kwh": (0.0, float("inf"), False),
    "wue_l_per_kwh": (0.0, float("inf"), False),
    "water_l_per_kwh": (0.0, float("inf"), False),
    "loss_fraction": (0.0, 0.99, False),
    "price_per_kwh": (0.0, float("inf"), False),
    "idle_share": (0.0, 1.0, False),
    "functional_units": (0.0, float("inf"), True),
}


#: Under which key the meta table of a recording keeps a scenario.
KEPT_KEY = "scenario"
_KEPT = (
    "zone", "pue", "kind", "energy_includes_pue", "market_g_per_kwh", "market_source",
    "loss_fraction", "wue_l_per_kwh", "water_l_per_kwh", "price_per_kwh", "currency", "idle_share",
    "functional_unit", "functional_units",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scenario:
    """Where and how energy becomes carbon. Nothing is assumed: what is None is left out.

    ``factor_g_per_kwh`` overrides the tables and ``zone`` is then only a label; ``intensity`` is
    a CSV, or a series, that prices every hour by itself. ``pue`` is applied once, to IT energy;
    with ``energy_includes_pue`` it is known to be inside already and is not applied again.
    ``factor_table`` is a user's CSV in the shape of the shipped one.

    Beside the total, never in it: ``market_g_per_kwh`` (the user's contracts), ``loss_fraction``
    (share of generation lost in the grid), ``wue_l_per_kwh`` (water on site, per IT kWh) and
    ``water_l_per_kwh`` (off site, per kWh), ``price_per_kwh``, ``embodied`` (hardware held),
    ``idle_share`` (of the energy) and ``functional_units`` of ``functional_unit``.

    ``kept`` is the factor that a recording was first priced with; see :func:`keep_scenario`.
    """

    zone: str | None = None
    pue: float | None = None
    factor_g_per_kwh: float | None = None
    kind: str = LIFECYCLE
    energy_includes_pue: bool = False
    factor_table: str | None = None
    intensity: str | Intensity | None = None
    market_g_per_kwh: float | None = None
    market_source: str | None = None
    loss_fraction: float | None = None
    wue_l_per_kwh: float | None = None
    water_l_per_kwh: float | None = None
    price_per_kwh: float | None = None
    currency: str | None = None
    idle_share: float | None = None
    functional_unit: str | None = None
    functional_units: float | None = None
    embodied: tuple[Holding, ...] = ()
    kept: Resolution | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be, in one sentence."""
        for name in _TEXTS:
            _check_text(getattr(self, name), name)
        for name, (low, high, above) in _NUMBERS.items():
            value = getattr(self, name)
            if value is not None:
                number = require_number(value, name, low=low, high=high, above=above)
                object.__setattr__(self, name, number)
        check_kind(self.kind)
        if not isinstance(self.energy_includes_pue, bool):
            raise UsageError("energy_includes_pue must be true or false")
        if self.price_per_kwh is not None and self.currency is None:
            raise UsageError("price_per_kwh needs a currency, such as 'EUR'")
        object.__setattr__(self, "embodied", tuple(self.embodied))

    @property
    def has_place(self) -> bool:
        """Whether a footprint can be given at all."""
        places = (self.zone, self.factor_g_per_kwh, self.intensity, self.kept)
        return any(place is not None for place in places)

    @property
    def has_annual_factor(self) -> bool:
        """Whether there is a factor beside a series, for the hours it lacks."""
        places = (self.zone, self.factor_g_per_kwh, self.kept)
        return any(place is not None for place in places)

    @property
    def pue_multiplier(self) -> float:
        """What the given energy is multiplied by; 1 where nothing is to be added."""
        return 1.0 if self.pue is None or self.energy_includes_pue else self.pue

    def resolve(self) -> Resolution:
        """The annual factor of this scenario; without a place it is refused, never guessed."""
        if self.factor_g_per_kwh is not None:
            factor = user_factor(self.factor_g_per_kwh, self.kind, self.zone)
            return Resolution(self.zone or "", factor)
        if self.kept is not None:
            return self.kept
        if self.zone is None:
            raise UsageError(NO_PLACE)
        return find_factor(self.zone, self.kind, self.factor_table)

    def load_intensity(self) -> Intensity | None:
        """The series of this scenario, read if it is a file."""
        if not isinstance(self.intensity, str):
            return self.intensity
        from pyprof.carbon.intensity import read_intensity

        return read_intensity(self.intensity)

    def to_dict(self) -> dict[str, Any]:
        """Every choice as JSON values, the defaults included."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        series = self.intensity
        plain["intensity"] = getattr(series, "source", series)
        plain["kept"] = None if self.kept is None else self.kept.to_dict()
        plain["embodied"] = [holding.to_dict() for holding in self.embodied]
        return plain


def read_scenario(path: str) -> Scenario:
    """A scenario from a TOML file; unknown keys are refused by name."""
    from pyprof.carbon.toml import Section, check_schema, read_toml

    table = read_toml(path)
    check_schema(table, path)
    section = Section(table, path)
    section.get("schema")
    scenario = scenario_from_section(section, folder=os.path.dirname(path))
    section.finish()
    return scenario


def scenario_from_section(
    section: Section, base: Scenario | None = None, *, folder: str = ""
) -> Scenario:
    """A scenario from one table; what it leaves out comes from ``base``.

    Relative paths count from ``folder``.
    """
    from pyprof.carbon.embodied import read_holding

    texts = {name: section.text(name) for name in (*_TEXTS, "kind", "intensity")}
    numbers = {
        name: section.number(name, low=low, high=high, above=above)
        for name, (low, high, above) in _NUMBERS.items()
    }
    changes: dict[str, Any] = {
        name: value for name, value in {**texts, **numbers}.items() if value is not None
    }
    for name in ("intensity", "factor_table"):
        if name in changes:
            changes[name] = os.path.join(folder, changes[name])
    if section.has("energy_includes_pue"):
        changes["energy_includes_pue"] = section.flag("energy_includes_pue")
    holdings = tuple(read_holding(item) for item in section.sections("embodied"))
    if holdings:
        changes["embodied"] = holdings
    try:
        return override(base or Scenario(), changes)
    except UsageError as error:
        raise UsageError(f"{section.where}: {error}") from None


def override(base: Scenario, changes: Mapping[str, Any]) -> Scenario:
    """``base`` with ``changes``. A new place takes the factor and the hours of the old one away.

    A factor that was kept is of one kind and from one table: another of these looks anew.
    """
    cleared: tuple[str, ...] = ()
    if "zone" in changes:
        cleared = ("factor_g_per_kwh", "intensity", "kept")
    elif "factor_g_per_kwh" in changes:
        cleared = ("intensity", "kept")
    elif changes.get("kind", base.kind) != base.kind or "factor_table" in changes:
        cleared = ("kept",)
    return replace(base, **{**dict.fromkeys(cleared), **changes})


def keep_scenario(scenario: Scenario) -> dict[str, Any]:
    """A place and its factor as JSON values, to be kept with a recording.

    What is kept prices the recording for ever as it was priced first, whatever later editions of
    the tables say. Hardware and series over time are not kept.
    """
    found = scenario.resolve()
    return {
        **{name: getattr(scenario, name) for name in _KEPT},
        "resolution": {
            **found.to_dict(),
            "place": None if found.place is None else _place_values(found.place),
        },
    }


def kept_scenario(values: Mapping[str, Any]) -> Scenario:
    """The scenario that :func:`keep_scenario` wrote."""
    try:
        found = values["resolution"]
        beside, place = found["beside"], found.get("place")
        resolution = Resolution(
            zone=found["zone"],
            factor=factor_from_dict(found["factor"]),
            substituted=found["substituted"],
            beside=None if beside is None else factor_from_dict(beside),
            place=None if place is None else Place(own={}, **place),
        )
        known = {name: values[name] for name in _KEPT if name in values}
        if not known:
            raise KeyError("zone")
        return Scenario(**known, kept=resolution)
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"the factor kept with the recording can't be read: {error}") from None


def keep_text(scenario: Scenario) -> str | None:
    """What a recording keeps of a scenario; None where no place is set."""
    import json

    has_factor = scenario.has_annual_factor
    return json.dumps(keep_scenario(scenario), allow_nan=False) if has_factor else None


def scenario_in(meta: Mapping[str, str]) -> Scenario | None:
    """The scenario that a recording keeps, if any."""
    import json

    if KEPT_KEY not in meta:
        return None
    try:
        kept = json.loads(meta[KEPT_KEY])
    except (ValueError, RecursionError, TypeError):
        raise UsageError(
            "the factor kept with the recording can't be read: it is not JSON"
        ) from None
    return kept_scenario(kept)


def _place_values(place: Place) -> dict[str, Any]:
    """What a report may say of a place."""
    return {name: getattr(place, name) for name in ("code", "name", "pue", "pue_basis")}


def _check_text(value: object, what: str) -> None:
    """None or a text."""
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{what} must be a text, not {value!r}")
