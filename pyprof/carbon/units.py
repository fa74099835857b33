"""The conversions of the trade, each written once."""

from __future__ import annotations

import math
from numbers import Real

from pyprof.errors import UsageError

JOULES_PER_KWH = 3.6e6
KG_PER_LB = 0.45359237
G_PER_KG = 1000.0
HOURS_PER_YEAR = 8760.0
# Beyond these no figure is meant, and products of a few of them stay finite.
LARGEST = 1e30
SMALLEST = 1e-30


def kwh_from_j(energy_j: float) -> float:
    """Joules to kilowatt-hours."""
    return energy_j / JOULES_PER_KWH


def j_from_kwh(energy_kwh: float) -> float:
    """Kilowatt-hours to joules."""
    return energy_kwh * JOULES_PER_KWH


def kg_from_kwh(energy_kwh: float, g_per_kwh: float) -> float:
    """Kilograms of CO2e for an energy at an intensity."""
    return energy_kwh * g_per_kwh / G_PER_KG


def g_per_kwh_from_lb_per_mwh(lb_per_mwh: float) -> float:
    """Pounds per megawatt-hour (the unit of eGRID and WattTime) to grams per kilowatt-hour."""
    return lb_per_mwh * KG_PER_LB


def require_number(
    value: object, what: str, *, low: float = 0.0, high: float = LARGEST, above: bool = False
) -> float:
    """``value`` as a finite float within [low, high], or one sentence that says why not.

    ``above`` excludes ``low`` itself, and what can't be told from it.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{what} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise UsageError(f"{what} is too large a number") from None
    if not math.isfinite(number):
        raise UsageError(f"{what} must be a finite number, not {value!r}")
    is_low = number < low or (above and number - low < SMALLEST)
    if is_low or number > min(high, LARGEST):
        raise UsageError(f"{what} must be {_range_text(low, high, above)}, not {value!r}")
    return number


def _range_text(low: float, high: float, above: bool) -> str:
    """The allowed range in words."""
    lower = f"above {low:g}" if above else f"at least {low:g}"
    return f"{lower} and at most {min(high, LARGEST):g}"
