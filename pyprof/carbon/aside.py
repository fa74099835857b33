"""What stands beside the operational total and is never added into it unasked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyprof.carbon.bounds import sum_intervals
from pyprof.carbon.scenario import Scenario
from pyprof.carbon.units import kg_from_kwh

if TYPE_CHECKING:
    from pyprof.carbon.embodied import Holding


@dataclass(frozen=True, slots=True)
class Aside:
    """Accounts beside the total; None is not asked for, or unknown.

    ``losses_kg`` is the grid's loss on the way (scope 3); water on site is per IT energy, off
    site per all energy, and the two are never summed; ``market_kg`` is the user's contracts.
    """

    market_kg: float | None = None
    losses_kg: float | None = None
    water_on_site_l: float | None = None
    water_off_site_l: float | None = None
    cost: float | None = None
    currency: str | None = None
    idle_kg: float | None = None
    dynamic_kg: float | None = None
    embodied: tuple[Holding, ...] = ()
    embodied_kg: float | None = None
    embodied_low_kg: float | None = None
    embodied_high_kg: float | None = None
    functional_unit: str | None = None
    kg_per_unit: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The accounts as JSON values."""
        return {
            "market_kg": self.market_kg,
            "losses_kg": self.losses_kg,
            "water_on_site_l": self.water_on_site_l,
            "water_off_site_l": self.water_off_site_l,
            "cost": self.cost,
            "currency": self.currency,
            "idle_kg": self.idle_kg,
            "dynamic_kg": self.dynamic_kg,
            "embodied": [holding.to_dict() for holding in self.embodied],
            "embodied_kg": self.embodied_kg,
            "embodied_low_kg": self.embodied_low_kg,
            "embodied_high_kg": self.embodied_high_kg,
            "functional_unit": self.functional_unit,
            "kg_per_unit": self.kg_per_unit,
        }


def make_aside(
    scenario: Scenario, it_kwh: float | None, all_kwh: float | None, kg: float | None
) -> Aside:
    """The accounts that a scenario asks for. ``all_kwh`` has the overhead in, ``it_kwh`` not."""
    made, low, high = _embodied(scenario.embodied)
    return Aside(
        market_kg=_times_g(all_kwh, scenario.market_g_per_kwh),
        losses_kg=_losses(kg, scenario.loss_fraction),
        water_on_site_l=_times(it_kwh, scenario.wue_l_per_kwh),
        water_off_site_l=_times(all_kwh, scenario.water_l_per_kwh),
        cost=_times(all_kwh, scenario.price_per_kwh),
        currency=scenario.currency,
        idle_kg=_times(kg, scenario.idle_share),
        dynamic_kg=_times(kg, None if scenario.idle_share is None else 1.0 - scenario.idle_share),
        embodied=scenario.embodied,
        embodied_kg=made,
        embodied_low_kg=low,
        embodied_high_kg=high,
        functional_unit=scenario.functional_unit,
        kg_per_unit=_per_unit(kg, made, scenario.functional_units),
    )


def _times(amount: float | None, each: float | None) -> float | None:
    """A product of what is known."""
    return None if amount is None or each is None else amount * each


def _times_g(energy_kwh: float | None, g_per_kwh: float | None) -> float | None:
    """Kilograms of what is known."""
    unknown = energy_kwh is None or g_per_kwh is None
    return None if unknown else kg_from_kwh(energy_kwh or 0.0, g_per_kwh or 0.0)


def _losses(kg: float | None, fraction: float | None) -> float | None:
    """Carbon of the energy that is generated for the job and lost before the meter."""
    return _times(kg, None if fraction is None else fraction / (1.0 - fraction))


def _embodied(
    holdings: tuple[Holding, ...],
) -> tuple[float | None, float | None, float | None]:
    """Central, low and high of all hardware held; rows err apart from each other."""
    if not holdings:
        return None, None, None
    return sum_intervals([(h.kg_co2e, h.low_kg, h.high_kg) for h in holdings])


def _per_unit(kg: float | None, made_kg: float | None, units: float | None) -> float | None:
    """Operational and embodied carbon per functional unit."""
    if kg is None or units is None:
        return None
    return math.fsum((kg, made_kg or 0.0)) / units
