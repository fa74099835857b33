"""Electricity Maps, API v4: average intensity of a zone, by consumption."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from pyprof.carbon.factor import LIFECYCLE
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
from pyprof.carbon.providers.client import Client, ProviderError

BASE_URL = "https://api.electricitymaps.com/v4"
NAME = "Electricity Maps"
STEP_S = 3600.0
_LICENCE = "as agreed with Electricity Maps; not to be redistributed"
# The API gives at most ten days of hours in one answer.
_LONGEST_S = 10 * 86400.0


class ElectricityMaps:
    """Hourly history of a zone. The zone is always sent: without one the API would guess it."""

    def __init__(
        self, token: str, client: Client, kind: str = LIFECYCLE, base_url: str = BASE_URL
    ) -> None:
        """Keep what every request needs."""
        self._headers = {"auth-token": token}
        self._client = client
        self._kind = kind
        self._base_url = base_url

    def latest(self, zone: str) -> Intensity:
        """The value of the current hour."""
        url = f"{self._base_url}/carbon-intensity/latest?{self._query(zone)}"
        slot = self._client.get_json(NAME, url, self._slot, self._headers, keep_s=300.0)
        return self._series(zone, [] if slot is None else [slot])

    def history(self, zone: str, start_s: float, end_s: float) -> Intensity:
        """The hours from ``start_s`` to ``end_s``; hours without a value stay gaps."""
        slots: dict[float, Slot] = {}
        for part in parts(start_s - start_s % STEP_S, end_s - end_s % -STEP_S, _LONGEST_S):
            slots.update((slot.start_s, slot) for slot in self._part(zone, *part))
        return self._series(zone, slots.values())

    def _part(self, zone: str, start_s: float, end_s: float) -> list[Slot]:
        """One answer's hours."""
        times = {"start": iso(start_s), "end": iso(end_s)}
        url = f"{self._base_url}/carbon-intensity/past-range?{self._query(zone, **times)}"
        return self._client.get_json(NAME, url, self._slots, self._headers, keep_s=keep_for(end_s))

    def _slots(self, answer: object) -> list[Slot]:
        """The hours of an answer."""
        return [slot for slot in map(self._slot, rows_of(answer, "data", NAME)) if slot is not None]

    def _query(self, zone: str, **times: str) -> str:
        """The query of a request."""
        return urlencode(
            {
                "zone": zone,
                **times,
                "emissionFactorType": self._kind,
                "temporalGranularity": "hourly",
                "disableCallerLookup": "true",
            }
        )

    def _slot(self, row: object) -> Slot | None:
        """One hour, or None where there is no value."""
        if not isinstance(row, Mapping):
            raise ProviderError(f"{NAME} answered without a value")
        kind = row.get("emissionFactorType", self._kind)
        if kind != self._kind:
            raise ProviderError(f"{NAME} answered {kind} factors where {self._kind} was asked")
        value = number_or_none(row.get("carbonIntensity"))
        if value is None:
            return None
        start_s = moment(row.get("datetime"), NAME)
        return Slot(start_s, start_s + STEP_S, value, estimated=row.get("isEstimated") is True)

    def _series(self, zone: str, slots: Iterable[Slot]) -> Intensity:
        """The series, with its provenance."""
        return series(slots, Intensity((), zone, self._kind, "average", f"{NAME} API v4", _LICENCE))
