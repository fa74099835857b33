"""Electricity Maps, API v4: average intensity of a zone, by consumption."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from pyprof.carbon.factor import LIFECYCLE
from pyprof.carbon.intensity import Intensity, Slot, make_intensity
from pyprof.carbon.providers.answers import iso, moment, number_or_none, rows_of
from pyprof.carbon.providers.client import Client, ProviderError
from pyprof.errors import UsageError

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
        answer = self._client.get_json(NAME, url, self._headers, keep_s=300.0)
        if not isinstance(answer, dict):
            raise ProviderError(f"{NAME} answered without a value")
        return self._series(zone, [slot for slot in [self._slot(answer)] if slot])

    def history(self, zone: str, start_s: float, end_s: float) -> Intensity:
        """The hours from ``start_s`` to ``end_s``; hours without a value stay gaps."""
        slots: dict[float, Slot] = {}
        at_s = start_s - start_s % STEP_S
        while at_s < end_s:
            until_s = min(at_s + _LONGEST_S, end_s - end_s % -STEP_S)
            slots.update(self._part(zone, at_s, until_s))
            at_s = until_s
        return self._series(zone, list(slots.values()))

    def _part(self, zone: str, start_s: float, end_s: float) -> dict[float, Slot]:
        """One answer's hours."""
        times = {"start": iso(start_s), "end": iso(end_s)}
        url = f"{self._base_url}/carbon-intensity/past-range?{self._query(zone, **times)}"
        answer = self._client.get_json(NAME, url, self._headers, keep_s=keep_for(end_s))
        found = [self._slot(row) for row in rows_of(answer, "data", NAME)]
        return {slot.start_s: slot for slot in found if slot is not None}

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
        if not isinstance(row, dict):
            return None
        kind = row.get("emissionFactorType", self._kind)
        if kind != self._kind:
            raise ProviderError(f"{NAME} answered {kind} factors where {self._kind} was asked")
        value = number_or_none(row.get("carbonIntensity"))
        if value is None:
            return None
        start_s = moment(row.get("datetime"), NAME)
        return Slot(start_s, start_s + STEP_S, value)

    def _series(self, zone: str, slots: list[Slot]) -> Intensity:
        """The series, with its provenance."""
        source = f"{NAME} API v4"
        like = Intensity((), zone, self._kind, "average", source, _LICENCE)
        try:
            return make_intensity(slots, like)
        except UsageError as error:
            raise ProviderError(str(error)) from None


def keep_for(end_s: float) -> float:
    """How long an answer stays good: the far past for a month, the last two days for minutes."""
    return 30 * 86400.0 if time.time() - end_s > 2 * 86400.0 else 600.0
