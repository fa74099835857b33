"""Numbers as people read them: a fitting unit, and digits only as far as the interval allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyprof.energy import JOULES_PER_KWH

UNKNOWN = "–"
_MOST_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit and how many base units it holds."""

    unit: str
    size: float


_ENERGY = (
    Scale("MWh", 1e3 * JOULES_PER_KWH),
    Scale("kWh", JOULES_PER_KWH),
    Scale("Wh", JOULES_PER_KWH / 1e3),
    Scale("J", 1.0),
    Scale("mJ", 1e-3),
)
_MASS = (
    Scale("kt", 1e6),
    Scale("t", 1e3),
    Scale("kg", 1.0),
    Scale("g", 1e-3),
    Scale("mg", 1e-6),
    Scale("µg", 1e-9),
)
_POWER = (Scale("MW", 1e6), Scale("kW", 1e3), Scale("W", 1.0), Scale("mW", 1e-3))


def energy_scale(energy_j: float | None) -> Scale:
    """The unit for an energy of this size: J below 1 Wh, then Wh, kWh, MWh."""
    return _pick(_ENERGY, energy_j, Scale("J", 1.0))


def mass_scale(mass_kg: float | None) -> Scale:
    """The unit for a mass of this size."""
    return _pick(_MASS, mass_kg, Scale("g", 1e-3))


def _pick(scales: tuple[Scale, ...], value: float | None, default: Scale) -> Scale:
    """The largest unit of which there is at least one; the smallest for less."""
    if value is None or value == 0:
        return default
    return next((scale for scale in scales if abs(value) >= scale.size), scales[-1])


def half_width(value: float, low: float | None, high: float | None) -> float | None:
    """The wider side of an interval; None if it is not known."""
    if low is None or high is None:
        return None
    return max(value - low, high - value, 0.0)


def digits(value: float, doubt: float | None) -> str:
    """``value`` with two digits of its ``doubt`` and four of its own, whichever ends first.

    One digit of its own is always there: what is small beside its doubt is not zero.
    """
    decimals = _decimals(value, _MOST_DIGITS) if value or not doubt else _decimals(doubt, 2)
    if doubt:
        decimals = min(decimals, _decimals(doubt, 2))
        decimals = max(decimals, _decimals(value, 1)) if value else decimals
    return f"{round(value, decimals):.{max(0, decimals)}f}"


def _decimals(value: float, significant: int) -> int:
    """Places after the point that give ``significant`` digits of ``value``."""
    if value == 0 or not math.isfinite(value):
        return 1
    return significant - 1 - math.floor(math.log10(abs(value)))


def interval(value: float, low: float | None, high: float | None, scale: Scale) -> str:
    """``5.31 ± 0.04 Wh``, or both ends where the sides differ; no interval, no claim."""
    doubt = half_width(value, low, high)
    shown, doubt = value / scale.size, None if doubt is None else doubt / scale.size
    if low is None or high is None or doubt is None:
        return f"{digits(shown, None)} {scale.unit} (interval not known)"
    if not doubt:
        return f"{digits(shown, None)} {scale.unit}"
    text = digits(shown, doubt)
    if _is_even(value, low, high):
        places = len(text.partition(".")[2]) or min(0, _decimals(doubt, 2))
        return f"{text} ± {round(doubt, places):.{max(0, places)}f} {scale.unit} (95 %)"
    ends = (digits(end / scale.size, doubt) for end in (low, high))
    return f"{text} {scale.unit} (95 %: {' to '.join(ends)})"


def mass(kg: float | None, low: float | None = None, high: float | None = None) -> str:
    """A mass with digits only as far as its interval allows."""
    if kg is None:
        return UNKNOWN
    scale = mass_scale(kg)
    if low is None or high is None or not half_width(kg, low, high):
        return f"{digits(kg / scale.size, None)} {scale.unit} CO2e"
    text = interval(kg, low, high, scale).replace(f" {scale.unit}", f" {scale.unit} CO2e", 1)
    # The terms of an account are judged as well as sampled: no level of confidence is claimed.
    return text.replace(" (95 %)", "").replace("95 %: ", "")


def mass_alone(kg: float | None, low: float | None, high: float | None) -> str:
    """The mass without its interval, but with no more digits than that allows."""
    if kg is None:
        return UNKNOWN
    scale = mass_scale(kg)
    return f"{cell(kg, half_width(kg, low, high), scale)} {scale.unit} CO2e"


def _is_even(value: float, low: float, high: float) -> bool:
    """Whether both sides of an interval are alike, give or take a tenth."""
    below, above = value - low, high - value
    return abs(above - below) <= 0.1 * max(above, below)


def bounds(value: float | None, low: float | None, high: float | None, scale: Scale) -> str:
    """A 95 % interval for a column: ``±0.04``, or both ends where the sides differ."""
    if value is None or low is None or high is None:
        return ""
    doubt = half_width(value, low, high)
    if _is_even(value, low, high):
        return f"±{cell(doubt, doubt, scale)}"
    return f"{cell(low, doubt, scale)}–{cell(high, doubt, scale)}"


def cell(value: float | None, doubt: float | None, scale: Scale) -> str:
    """A figure for a column whose head names the unit."""
    if value is None:
        return UNKNOWN
    return digits(value / scale.size, None if doubt is None else doubt / scale.size)


def count(value: float, significant: int = 4) -> str:
    """A number of things, without an exponent and with its thousands apart."""
    if abs(value) >= 1e15:
        return f"{value:.{significant}g}"
    decimals = _decimals(value, significant)
    return (
        f"{round(value, decimals):,.{max(0, decimals)}f}"
        if abs(value) >= 1000
        else (f"{value:.{significant}g}")
    )


def power(power_w: float | None) -> str:
    """Watts in a fitting unit."""
    if power_w is None:
        return UNKNOWN
    scale = _pick(_POWER, power_w, Scale("W", 1.0))
    shown = power_w / scale.size
    return f"{shown:.{1 if shown >= 10 else 2}f} {scale.unit}"


def percent(part: float | None, whole: float | None) -> str:
    """A share in percent."""
    if part is None or not whole:
        return UNKNOWN
    share = 100 * part / whole
    return f"{share:.1f} %" if 0 < share < 99.95 else f"{share:.0f} %"


def duration(seconds: float | None) -> str:
    """A length of time as people say it."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
