"""Everyday equivalents of a mass of CO2e: two digits, one row each, with its id, year and source.

Never "offset by trees": an uptake is not an emission. Rows derived from a published result are
there to compare with and are shown only when asked for by id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pyprof.carbon.bounds import round_to
from pyprof.carbon.table import data_path, read_rows
from pyprof.errors import UsageError

DEFAULT_IDS = (
    "flight_lhr_jfk_economy_return",
    "car_mile_us_fleet",
    "car_km_eu_new_2024",
    "home_electricity_us_year",
    "smartphone_charge",
)
WIDEST_RATIO = 3.0
_UPTAKES = ("tree_10y",)


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Kilograms of CO2e per unit of something people know; None depends on the grid."""

    id: str
    name: str
    unit: str
    kg_per_unit: float | None
    year: int | None
    verified: str
    source: str
    licence: str
    note: str

    @property
    def is_implied(self) -> bool:
        """Whether it was derived from a published result, so that using it proves nothing."""
        return self.licence == "derived fact"


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A mass as a number of units."""

    count: float
    row: Equivalence

    @property
    def rounded(self) -> float:
        """Two significant digits, the most that is ever shown."""
        return round_to(self.count, 2)

    @property
    def text(self) -> str:
        """One line for a report."""
        doubt = "; not re-read at its source" if self.row.verified == "no" else ""
        return (
            f"{self.rounded:,.10g} x {self.row.name}, per {self.row.unit} "
            f"[{self.row.id}, {self.row.year}: {self.row.source}{doubt}]"
        )

    def to_dict(self) -> dict[str, Any]:
        """The equivalent as JSON values."""
        return {
            "id": self.row.id,
            "count": self.rounded,
            "name": self.row.name,
            "unit": self.row.unit,
            "kg_per_unit": self.row.kg_per_unit,
            "year": self.row.year,
            "source": self.row.source,
            "verified": self.row.verified,
            "licence": self.row.licence,
        }


@lru_cache(maxsize=1)
def load_equivalences() -> dict[str, Equivalence]:
    """The shipped table, by id."""
    columns = ("id", "name", "unit", "kgCO2e_per_unit", "year", "verified", "source", "licence")
    rows = read_rows(data_path("equivalences.csv"), columns)
    return {
        row.required("id"): Equivalence(
            id=row.required("id"),
            name=row.required("name"),
            unit=row.required("unit"),
            kg_per_unit=row.optional_number("kgCO2e_per_unit"),
            year=row.year(),
            verified=row.required("verified"),
            source=row.required("source"),
            licence=row.required("licence"),
            note=row.text("note"),
        )
        for row in rows
    }


def equivalents(
    kg_co2e: float | None,
    low_kg: float | None = None,
    high_kg: float | None = None,
    ids: Iterable[str] | None = None,
) -> tuple[Equivalent, ...]:
    """``kg_co2e`` in everyday units; none for an unknown or zero mass, nor for a wide interval."""
    rows = [_find(name) for name in (_default_ids() if ids is None else ids)]
    if not kg_co2e or _is_too_wide(low_kg, high_kg):
        return ()
    return tuple(
        Equivalent(kg_co2e / row.kg_per_unit, row) for row in rows if row.kg_per_unit is not None
    )


def _default_ids() -> list[str]:
    """Those that need no asking: none implied by a result, none that was not re-read."""
    table = load_equivalences()
    return [name for name in DEFAULT_IDS if name in table]


def _find(name: str) -> Equivalence:
    """The row of that id, if it may be used."""
    if name in _UPTAKES:
        raise UsageError(f"{name!r} is an uptake, not an emission: it is no equivalent")
    row = load_equivalences().get(name)
    if row is None:
        raise UsageError(f"unknown equivalence {name!r}: use {', '.join(load_equivalences())}")
    if row.kg_per_unit is None:
        raise UsageError(f"{name!r} is a power, not a mass: {row.source}")
    return row


def _is_too_wide(low_kg: float | None, high_kg: float | None) -> bool:
    """Whether the interval spans more than a factor of 3."""
    if low_kg is None or high_kg is None:
        return False
    return low_kg <= 0.0 or high_kg / low_kg > WIDEST_RATIO
