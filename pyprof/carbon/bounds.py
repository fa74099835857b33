"""How uncertain a figure is: relative terms per cause, combined the same way every time.

Inside one cause the deviations are taken as shared and added; between causes they are taken as
independent and added in quadrature, each side (low, high) for itself. This is first order and
deterministic: the same inputs give the same bounds to the last digit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# Relative half-widths used where the data carry none; docs/accounting.md names their sources.
ANNUAL_FACTOR = 0.10
PUE_SITE = 0.05
PUE_PROVIDER = 0.15


@dataclass(frozen=True, slots=True)
class Term:
    """One cause, as the share by which the true value may lie below or above the figure."""

    cause: str
    below: float
    above: float

    @property
    def width(self) -> float:
        """Both sides together."""
        return self.below + self.above

    def to_dict(self) -> dict[str, Any]:
        """The term as JSON values."""
        return {"cause": self.cause, "below": self.below, "above": self.above}


def term_from_interval(cause: str, central: float, low: float, high: float) -> Term | None:
    """The term of an absolute interval around ``central``; None if it says nothing."""
    if central <= 0.0 or not (math.isfinite(low) and math.isfinite(high)):
        return None
    below, above = max(0.0, (central - low) / central), max(0.0, (high - central) / central)
    return Term(cause, below, above) if below or above else None


def scale_term(term: Term, share: float) -> Term:
    """A term that touches only a share of the figure."""
    return Term(term.cause, term.below * share, term.above * share)


def merge_terms(terms: Iterable[Term]) -> tuple[Term, ...]:
    """One term per cause: deviations of the same cause are shared, so they add."""
    sums: dict[str, tuple[float, float]] = {}
    for term in terms:
        below, above = sums.get(term.cause, (0.0, 0.0))
        sums[term.cause] = (below + term.below, above + term.above)
    return tuple(Term(cause, *sums[cause]) for cause in sorted(sums))


def interval(central: float, terms: Iterable[Term]) -> tuple[float, float]:
    """Low and high around ``central``; energy and carbon are never below zero."""
    merged = merge_terms(terms)
    below = math.sqrt(math.fsum(term.below**2 for term in merged))
    above = math.sqrt(math.fsum(term.above**2 for term in merged))
    return central * max(0.0, 1.0 - below), central * (1.0 + above)


def dominating(terms: Iterable[Term]) -> Term | None:
    """The widest cause; ties go to the first by name."""
    merged = merge_terms(terms)
    return max(merged, key=lambda term: term.width, default=None)


def sum_intervals(parts: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Central, low and high of a sum of independent (central, low, high) parts."""
    central = math.fsum(part[0] for part in parts)
    below = math.sqrt(math.fsum((part[0] - part[1]) ** 2 for part in parts))
    above = math.sqrt(math.fsum((part[2] - part[0]) ** 2 for part in parts))
    return central, max(0.0, central - below), central + above


def significant_digits(central: float, low: float, high: float, most: int = 4) -> int:
    """How many digits of ``central`` its interval allows: 1 at least, ``most`` at most."""
    width = max(high - central, central - low)
    if central <= 0.0 or width <= 0.0:
        return most
    # One digit beyond the first that the half-width touches would only be noise.
    digits = math.floor(math.log10(central)) - math.floor(math.log10(width)) + 1
    return min(most, max(1, digits))


def round_to(value: float, digits: int) -> float:
    """``value`` with that many significant digits."""
    if value == 0.0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))
