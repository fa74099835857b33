"""The UK Carbon Intensity API: half-hours of Great Britain and its regions, no key needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyprof.carbon.factor import DIRECT
from pyprof.carbon.intensity import Intensity, Slot
from pyprof.carbon.providers.answers import (
    iso,
    keep_for,
    moment,
    number_or_none,
    parts,
    rows_of,
    series,
)
from pyprof.carbon.providers.client import Client
from pyprof.errors import UsageError

BASE_URL = "https://api.carbonintensity.org.uk"
NAME = "UK Carbon Intensity"
# The API gives at most a fortnight in one answer.
_LONGEST_S = 13 * 86400.0


class UnitedKingdom:
    """Half-hourly history: zone ``GB``, or the outward part of a postcode, such as ``SW1A``."""

    def __init__(self, client: Client, base_url: str = BASE_URL) -> None:
        """Keep what every request needs."""
        self._client = client
        self._base_url = base_url

    def history(self, zone: str, start_s: float, end_s: float) -> Intensity:
        """The half-hours from ``start_s`` to ``end_s``."""
        slots: dict[float, Slot] = {}
        for part in parts(start_s, end_s, _LONGEST_S):
            slots.update((slot.start_s, slot) for slot in self._part(zone, *part))
        like = Intensity((), zone, DIRECT, "average", f"{NAME} API (NESO)", "CC-BY-4.0")
        return series(slots.values(), like)

    def _part(self, zone: str, start_s: float, end_s: float) -> list[Slot]:
        """One answer's half-hours."""
        span = f"{_minute(start_s)}/{_minute(end_s)}"
        if zone.upper() in ("GB", "UK"):
            path, pick = f"/intensity/{span}", _of_country
        else:
            path = f"/regional/intensity/{span}/postcode/{_outward(zone)}"
            pick = _of_region
        url = f"{self._base_url}{path}"
        return self._client.get_json(NAME, url, pick, keep_s=keep_for(end_s))


def _of_country(answer: Any) -> list[Slot]:
    """The half-hours of Great Britain."""
    return [slot for slot in map(_slot, rows_of(answer, "data", NAME)) if slot is not None]


def _of_region(answer: Any) -> list[Slot]:
    """The half-hours of a region, which lie one level deeper."""
    return _of_country(answer.get("data") if isinstance(answer, Mapping) else None)


def _slot(row: Mapping[str, Any]) -> Slot | None:
    """One half-hour: the actual value, else the forecast; None where there is neither."""
    intensity = row.get("intensity")
    if not isinstance(intensity, Mapping):
        return None
    actual = number_or_none(intensity.get("actual"))
    value = number_or_none(intensity.get("forecast")) if actual is None else actual
    if value is None:
        return None
    return Slot(
        moment(row.get("from"), NAME),
        moment(row.get("to"), NAME),
        value,
        estimated=actual is None,
    )


def _minute(unix_s: float) -> str:
    """A moment as the API wants it in a path."""
    return f"{iso(unix_s)[:16]}Z"


def _outward(zone: str) -> str:
    """The outward part of a postcode, the only part that the API takes."""
    outward = zone.strip().upper().partition(" ")[0]
    if not (2 <= len(outward) <= 4 and outward.isascii() and outward.isalnum()):
        raise UsageError(
            f"{NAME} takes GB or the first part of a postcode, such as SW1A, not {zone!r}"
        )
    return outward
