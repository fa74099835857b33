"""WattTime, API v3: marginal emissions, in pounds per megawatt-hour."""

from __future__ import annotations

import base64
from urllib.parse import urlencode

from pyprof.carbon.factor import DIRECT
from pyprof.carbon.intensity import Intensity, Slot, make_intensity
from pyprof.carbon.providers.answers import iso, moment, number_or_none, rows_of
from pyprof.carbon.providers.client import Client, ProviderError
from pyprof.carbon.providers.electricity_maps import keep_for
from pyprof.carbon.units import g_per_kwh_from_lb_per_mwh
from pyprof.errors import UsageError

BASE_URL = "https://api.watttime.org"
NAME = "WattTime"
MARGINAL = "co2_moer"
AVERAGE = "co2_aoer"
_LICENCE = "as agreed with WattTime; not to be redistributed"
_UNIT = "lbs_co2_per_mwh"


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
        answer = self._client.get_json(NAME, url, self._token())
        if not isinstance(answer, dict) or not isinstance(answer.get("region"), str):
            raise ProviderError(f"{NAME} knows no region for {latitude}, {longitude}")
        return str(answer["region"])

    def history(self, zone: str, start_s: float, end_s: float) -> Intensity:
        """The values from ``start_s`` to ``end_s``."""
        return self._fetch("historical", zone, start=iso(start_s), end=iso(end_s), until_s=end_s)

    def forecast(self, zone: str) -> Intensity:
        """What is expected for the coming hours."""
        return self._fetch("forecast", zone, until_s=float("inf"))

    def _fetch(self, what: str, zone: str, until_s: float, **times: str) -> Intensity:
        """One answer as a series."""
        query = urlencode({"region": zone, **times, "signal_type": self._signal})
        url = f"{self._base_url}/v3/{what}?{query}"
        answer = self._client.get_json(NAME, url, self._token(), keep_s=keep_for(until_s))
        rows = rows_of(answer, "data", NAME)
        step_s = self._step(answer)
        slots = []
        for row in rows:
            value = number_or_none(row.get("value"))
            if value is not None:
                start_s = moment(row.get("point_time"), NAME)
                slots.append(Slot(start_s, start_s + step_s, g_per_kwh_from_lb_per_mwh(value)))
        signal = "marginal" if self._signal == MARGINAL else "average"
        like = Intensity((), zone, DIRECT, signal, f"{NAME} API v3, {self._signal}", _LICENCE)
        try:
            return make_intensity(slots, like)
        except UsageError as error:
            raise ProviderError(str(error)) from None

    def _step(self, answer: object) -> float:
        """How long a value holds; an answer in another unit is refused."""
        meta = answer.get("meta") if isinstance(answer, dict) else None
        if not isinstance(meta, dict):
            return 300.0
        if meta.get("units", _UNIT) != _UNIT:
            raise ProviderError(f"{NAME} answered in {meta['units']!r} where {_UNIT} is documented")
        return number_or_none(meta.get("data_point_period_seconds")) or 300.0

    def _token(self) -> dict[str, str]:
        """A token for the next request; it lives half an hour and is never kept on disk."""
        client = Client(
            timeout_s=self._client.timeout_s,
            retries=self._client.retries,
            longest_wait_s=self._client.longest_wait_s,
            cache_dir=None,
            sleep=self._client.sleep,
        )
        answer = client.get_json(NAME, f"{self._base_url}/login", self._login)
        if not isinstance(answer, dict) or not isinstance(answer.get("token"), str):
            raise ProviderError(f"{NAME} gave no token at login")
        return {"Authorization": f"Bearer {answer['token']}"}
