"""Manufacturing carbon and its share for one job, by the formulas of published methods.

kg = manufactured kg x hours held / (lifetime in years x 8760 x utilisation). Two clocks give two
answers and both are published practice: hours *reserved* (SCI, utilisation 1) and hours *used*
(BLOOM: 6 years, 0.85 of them in use). The one taken is always in the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyprof.carbon.component import (
    DEFAULT_LIFETIME_YEARS,
    DEFAULT_UTILISATION,
    Component,
    find_component,
    own_component,
)
from pyprof.carbon.toml import Section
from pyprof.carbon.units import HOURS_PER_YEAR, require_number
from pyprof.errors import UsageError


@dataclass(frozen=True, slots=True)
class Holding:
    """Pieces of hardware held for a time: ``hours`` are summed over the pieces.

    ``clock`` says what the hours are: ``reserved`` or ``used``. ``share`` is the part of the
    piece that the job held, such as GPUs held over GPUs in the server.
    """

    component: Component
    hours: float
    share: float = 1.0
    lifetime_years: float = DEFAULT_LIFETIME_YEARS
    utilisation: float = DEFAULT_UTILISATION
    clock: str = "used"
    said: str | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """What it is called in an account."""
        return self.name or self.component.name

    @property
    def fraction(self) -> float:
        """The part of one piece's manufacturing that the job bears."""
        return amortise(1.0, self.hours, self.lifetime_years, self.utilisation) * self.share

    @property
    def kg_co2e(self) -> float:
        """The job's part, kilograms."""
        return self.component.kg_co2e * self.fraction

    @property
    def low_kg(self) -> float:
        """Lower end, from the row's interval."""
        return self.component.low_kg * self.fraction

    @property
    def high_kg(self) -> float:
        """Upper end, from the row's interval."""
        return self.component.high_kg * self.fraction

    def to_dict(self) -> dict[str, Any]:
        """The holding as JSON values, with every choice."""
        return {
            **self.component.to_dict(),
            "manufactured_kg": self.component.kg_co2e,
            "kg_co2e": self.kg_co2e,
            "low_kg": self.low_kg,
            "high_kg": self.high_kg,
            "hours": self.hours,
            "clock": self.clock,
            "share": self.share,
            "lifetime_years": self.lifetime_years,
            "utilisation": self.utilisation,
            "said": self.said,
        }


def amortise(
    made_kg: float,
    hours: float,
    lifetime_years: float = DEFAULT_LIFETIME_YEARS,
    utilisation: float = DEFAULT_UTILISATION,
    hours_per_year: float = HOURS_PER_YEAR,
) -> float:
    """The part of ``made_kg`` that ``hours`` of holding bear."""
    return made_kg * hours / (lifetime_years * hours_per_year * utilisation)


def hold(
    component: str | Component,
    hours: float,
    *,
    share: float = 1.0,
    lifetime_years: float = DEFAULT_LIFETIME_YEARS,
    utilisation: float | None = None,
    clock: str = "used",
    name: str = "",
    basis: str | None = None,
) -> Holding:
    """A piece of hardware held for ``hours``, summed over pieces, on one of the two clocks.

    ``component`` is a name of the table, which may have several rows (``basis`` picks one), or
    what :func:`own_component` made. Without ``utilisation`` it is that of the clock: 0.85 of the
    hours of a lifetime are used, and all of them can be reserved.
    """
    if clock not in ("used", "reserved"):
        raise UsageError(f"clock must be 'used' or 'reserved', not {clock!r}")
    found, said = (
        find_component(component, basis) if isinstance(component, str) else (component, None)
    )
    usual = 1.0 if clock == "reserved" else DEFAULT_UTILISATION
    share_of_life = usual if utilisation is None else utilisation
    return Holding(
        component=found,
        hours=require_number(hours, "hours"),
        share=require_number(share, "share", high=1.0),
        lifetime_years=require_number(lifetime_years, "lifetime_years", above=True),
        utilisation=require_number(share_of_life, "utilisation", high=1.0, above=True),
        clock=clock,
        said=said,
        name=name or found.name,
    )


def read_holding(section: Section) -> Holding:
    """One ``[[embodied]]`` table of a scenario or life-cycle file."""
    component, basis = _read_component(section)
    hours = section.number("hours")
    if hours is None:
        raise UsageError(f"{section.where}: hours is missing: the hours held, summed over pieces")
    given = {
        "name": section.text("name"),
        "clock": section.text("clock"),
        "share": section.number("share", high=1.0),
        "lifetime_years": section.number("lifetime_years", above=True),
        "utilisation": section.number("utilisation", high=1.0, above=True),
    }
    section.finish()
    choices: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    try:
        return hold(component, hours, basis=basis, **choices)
    except UsageError as error:
        raise UsageError(f"{section.where}: {error}") from None


def _read_component(section: Section) -> tuple[str | Component, str | None]:
    """The piece: a name of the table with the basis wanted, or a stated figure."""
    name, basis = section.text("component"), section.text("basis")
    kg = section.number("kg")
    low, high = section.number("low_kg"), section.number("high_kg")
    if kg is not None:
        return own_component(name or "hardware", kg, low, high), None
    if name is None:
        raise UsageError(f"{section.where}: component or kg is missing")
    if low is not None or high is not None:
        raise UsageError(f"{section.where}: low_kg and high_kg go with kg")
    return name, basis
