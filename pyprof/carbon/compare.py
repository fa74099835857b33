"""The same energy in several zones, of one kind of factor only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyprof.carbon.bounds import ANNUAL_FACTOR, Term, interval
from pyprof.carbon.factor import LIFECYCLE
from pyprof.carbon.grid import Resolution, find_factor
from pyprof.carbon.units import kg_from_kwh, kwh_from_j, require_number
from pyprof.errors import PyprofError, UnknownZoneError

#: Five grids from very clean to coal-heavy; shown where no zone is set, never used as one.
EXAMPLE_ZONES = ("FR", "GB", "US", "CN", "AU")


@dataclass(frozen=True, slots=True)
class ZoneRow:
    """What the energy would be in one zone; ``refused`` says why there is no figure.

    ``low_kg`` and ``high_kg`` hold what is unsure of the zone: its annual factor.
    """

    zone: str
    name: str | None
    kg_co2e: float | None
    resolution: Resolution | None
    refused: str | None = None
    low_kg: float | None = None
    high_kg: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        found = self.resolution
        return {
            "zone": self.zone,
            "name": self.name,
            "kg_co2e": self.kg_co2e,
            "low_kg": self.low_kg,
            "high_kg": self.high_kg,
            "factor": None if found is None else found.factor.to_dict(),
            "substituted": None if found is None else found.substituted,
            "beside": None if found is None or found.beside is None else found.beside.to_dict(),
            "refused": self.refused,
        }


def compare(
    energy_j: float,
    zones: Iterable[str] = EXAMPLE_ZONES,
    kind: str = LIFECYCLE,
    pue: float | None = None,
    table: str | None = None,
) -> tuple[ZoneRow, ...]:
    """What ``energy_j`` would emit in each zone, all of one kind, in the order given.

    A zone without that kind of factor is listed with the reason, never ranked by another kind;
    an unknown zone is an error.
    """
    require_number(energy_j, "energy_j")
    overhead = 1.0 if pue is None else require_number(pue, "pue", low=1.0)
    energy_kwh = kwh_from_j(energy_j) * overhead
    rows = [_row(zone, energy_kwh, kind, table) for zone in zones]
    return tuple(_of_one_signal(rows))


def _of_one_signal(rows: list[ZoneRow]) -> Iterator[ZoneRow]:
    """Rows without those whose signal is another than the first one's."""
    signal: str | None = None
    for row in rows:
        factor = None if row.resolution is None else row.resolution.factor
        signal = signal or (None if factor is None else factor.signal)
        if factor is None or factor.signal == signal:
            yield row
        else:
            said = f"{row.zone} has a {factor.signal} factor: never ranked with {signal} ones"
            yield ZoneRow(row.zone, row.name, None, None, said)


def _row(zone: str, energy_kwh: float, kind: str, table: str | None) -> ZoneRow:
    """One zone."""
    try:
        found = find_factor(zone, kind, table)
    except UnknownZoneError:
        raise
    except PyprofError as error:
        return ZoneRow(zone, None, None, None, str(error))
    kg = kg_from_kwh(energy_kwh, found.factor.g_per_kwh)
    name = found.place.name if found.place is not None else found.factor.name
    low, high = interval(kg, [Term("grid factor", ANNUAL_FACTOR, ANNUAL_FACTOR)])
    return ZoneRow(found.zone, name, kg, found, low_kg=low, high_kg=high)
