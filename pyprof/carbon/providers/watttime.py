"""WattTime, API v3: marginal emissions, in pounds per megawatt-hour."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

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
from pyprof.carbon.providers.client import Client, ProviderError
from pyprof.carbon.units import g_per_kwh_from_lb_per_mwh

BASE_URL = "https://api.watttime.org"
NAME = "WattTime"
MARGINAL = "co2_moer"
AVERAGE = "co2_aoer"
_LICENCE = "as agreed with WattTime; not to be redistributed"
_UNIT = "lbs_co2_per_mwh"
# The API gives at most 32 days in one answer.
_LONGEST_S = 30 * 86400.0


class WattTime:
    """Five-minute history of a region. Marginal answers what changes if I act, not what is mine."""

    def __init__(
        self,
        user: str,
        password: str,
        client: Client,
        base_url: str = BASE_URL,
        signal: str = MARGINAL,
    ) -> None:
        """Keep what every request needs."""
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._login = {"Authorization": f"Basic {pair}"}
        self._client = client
        self._base_url = base_url
        self._signal = signal

    def region(self, latitude: float, longitude: float) -> str:
        """The region that holds a place on the map."""
        query = urlencode(
            {"latitude": latitude, "longitude": longitude, "signal_type": self._signal}
        )
        url = f"{self._base_url}/v3/region-from-loc?{query}"

        def pick(answer: Any) -> str:
            """The region's own name."""
            if not isinstance(answer, dict) or not isinstance(answer.get("region"), str):
                raise ProviderError(f"{NAME} knows no region for {latitude}, {longitude}")
            return str(answer["region"])

        return self._client.get_json(NAME, url, pick, self._token())

    def history(self, zone: str, start_s: float, end_s: float) -> Intensity:
        """The values from ``start_s`` to ``end_s``."""
        slots: dict[float, Slot] = {}
        for first_s, last_s in parts(start_s, end_s, _LONGEST_S):
            times = {"start": iso(first_s), "end": iso(last_s)}
            found = self._ask("historical", zone, times, keep_for(last_s))
            slots.update((slot.start_s, slot) for slot in found)
        return self._series(zone, slots.values())

    def forecast(self, zone: str) -> Intensity:
        """What is expected for the coming hours."""
        slots = self._ask("forecast", zone, {}, keep_for(float("inf")))
        return self._series(zone, (replace(slot, estimated=True) for slot in slots))

    def _ask(self, what: str, zone: str, times: Mapping[str, str], keep_s: float) -> list[Slot]:
        """One answer's values."""
        query = urlencode({"region": zone, **times, "signal_type": self._signal})
        url = f"{self._base_url}/v3/{what}?{query}"
        return self._client.get_json(NAME, url, _slots, self._token(), keep_s=keep_s)

    def _series(self, zone: str, slots: Iterable[Slot]) -> Intensity:
        """The series, with its provenance."""
        signal = "marginal" if self._signal == MARGINAL else "average"
        source = f"{NAME} API v3, {self._signal}"
        return series(slots, Intensity((), zone, DIRECT, signal, source, _LICENCE))

    def _token(self) -> dict[str, str]:
        """A token for the next request; it lives half an hour and is never kept on disk."""
        client = replace(self._client, cache_dir=None)

        def pick(answer: Any) -> str:
            """The token."""
            if not isinstance(answer, dict) or not isinstance(answer.get("token"), str):
                raise ProviderError(f"{NAME} gave no token at login")
            return str(answer["token"])

        token = client.get_json(NAME, f"{self._base_url}/login", pick, self._login)
        return {"Authorization": f"Bearer {token}"}


def _slots(answer: Any) -> list[Slot]:
    """The values of an answer; times without one are gaps."""
    step_s = _step(answer)
    pairs = [
        (moment(row.get("point_time"), NAME), number_or_none(row.get("value")))
        for row in rows_of(answer, "data", NAME)
    ]
    return [
        Slot(start_s, start_s + step_s, g_per_kwh_from_lb_per_mwh(value))
        for start_s, value in pairs
        if value is not None
    ]


def _step(answer: Any) -> float:
    """How long a value holds; an answer in another unit is refused."""
    meta = answer.get("meta") if isinstance(answer, dict) else None
    if not isinstance(meta, dict):
        return 300.0
    if meta.get("units", _UNIT) != _UNIT:
        raise ProviderError(f"{NAME} answered in {meta['units']!r} where {_UNIT} is documented")
    return number_or_none(meta.get("data_point_period_seconds")) or 300.0
