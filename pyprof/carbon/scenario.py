"""Every accounting choice in one frozen value, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyprof.carbon.factor import KINDS, LIFECYCLE, check_kind, user_factor
from pyprof.carbon.grid import Resolution, find_factor
from pyprof.carbon.units import require_number
from pyprof.errors import UsageError

NO_PLACE = (
    "no place is set, so there is no footprint: give a zone (--zone FR, PYPROF_ZONE=FR, or "
    "zone = 'FR' under [tool.pyprof]) or a factor in g/kWh"
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Where and how energy becomes carbon. Nothing is assumed: what is None is left out.

    ``factor_g_per_kwh`` overrides the tables and ``zone`` is then only a label. ``pue`` is
    applied once, to IT energy; with ``energy_includes_pue`` it is known to be inside already
    and is not applied again. ``factor_table`` is a user's CSV in the shape of the shipped one.
    """

    zone: str | None = None
    pue: float | None = None
    factor_g_per_kwh: float | None = None
    kind: str = LIFECYCLE
    energy_includes_pue: bool = False
    factor_table: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be, in one sentence."""
        _check_text(self.zone, "zone")
        _check_text(self.factor_table, "factor_table")
        check_kind(self.kind)
        _check_optional(self.pue, "pue", low=1.0)
        _check_optional(self.factor_g_per_kwh, "factor_g_per_kwh")
        if not isinstance(self.energy_includes_pue, bool):
            raise UsageError("energy_includes_pue must be true or false")

    @property
    def has_place(self) -> bool:
        """Whether a footprint can be given at all."""
        return self.zone is not None or self.factor_g_per_kwh is not None

    @property
    def pue_multiplier(self) -> float:
        """What IT energy is multiplied by; 1 where nothing is to be added."""
        return 1.0 if self.pue is None or self.energy_includes_pue else self.pue

    def resolve(self) -> Resolution:
        """The factor of this scenario; without a place it is refused, never guessed."""
        if self.factor_g_per_kwh is not None:
            factor = user_factor(self.factor_g_per_kwh, self.kind, self.zone)
            return Resolution(self.zone or "", factor)
        if self.zone is None:
            raise UsageError(NO_PLACE)
        return find_factor(self.zone, self.kind, self.factor_table)

    def to_dict(self) -> dict[str, Any]:
        """The choices as JSON values."""
        return {
            "zone": self.zone,
            "pue": self.pue,
            "factor_g_per_kwh": self.factor_g_per_kwh,
            "kind": self.kind,
            "energy_includes_pue": self.energy_includes_pue,
            "factor_table": self.factor_table,
        }


def _check_text(value: object, what: str) -> None:
    """None or a text."""
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{what} must be a text, not {value!r}")


def _check_optional(value: object, what: str, low: float = 0.0) -> None:
    """None or a number of at least ``low``."""
    if value is not None:
        require_number(value, what, low=low)


__all__ = ["KINDS", "NO_PLACE", "Scenario"]
