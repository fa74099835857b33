"""ENTSO-E: generation per source of a European zone, priced with factors per source.

The service knows no carbon. What it calls *other*, and sources without a published factor, are
unknown and not zero: the mean is that of the known sources, and the unknown share widens the
interval from the cleanest to the dirtiest source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pyprof.carbon.factor import LIFECYCLE, check_kind
from pyprof.carbon.intensity import Intensity, Slot
from pyprof.carbon.providers.answers import keep_for, moment, parts, series
from pyprof.carbon.providers.client import Client, ProviderError
from pyprof.carbon.table import data_path, read_rows
from pyprof.errors import UsageError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

BASE_URL = "https://web-api.tp.entsoe.eu/api"
NAME = "ENTSO-E"
# Zones that people name; any other bidding zone can be given by its EIC.
_EIC = {
    "AT": "10YAT-APG------L",
    "BE": "10YBE----------2",
    "CH": "10YCH-SWISSGRIDZ",
    "CZ": "10YCZ-CEPS-----N",
    "DE": "10Y1001A1001A82H",
    "DK1": "10YDK-1--------W",
    "DK2": "10YDK-2--------M",
    "ES": "10YES-REE------0",
    "FI": "10YFI-1--------U",
    "FR": "10YFR-RTE------C",
    "NL": "10YNL----------L",
    "NO1": "10YNO-1--------2",
    "PL": "10YPL-AREA-----S",
    "PT": "10YPT-REN------W",
    "SE1": "10Y1001A1001A44P",
    "SE2": "10Y1001A1001A45N",
    "SE3": "10Y1001A1001A46L",
    "SE4": "10Y1001A1001A47J",
}
# Production types and the source whose factor they take; the others are unknown.
_SOURCES = {
    "B01": "biomass",
    "B02": "coal",
    "B04": "gas",
    "B05": "coal",
    "B06": "oil",
    "B09": "geothermal",
    "B11": "hydro",
    "B12": "hydro",
    "B14": "nuclear",
    "B16": "solar",
    "B18": "wind",
    "B19": "wind",
}
_STEPS_S = {"PT15M": 900.0, "PT30M": 1800.0, "PT60M": 3600.0}
# The service gives at most a year in one answer.
_LONGEST_S = 364 * 86400.0
#: start of the interval, its length, production type, megawatts (nan: missing)
Output = tuple[float, float, str, float]


class Entsoe:
    """Generation history of a zone, as an intensity."""

    def __init__(
        self, token: str, client: Client, kind: str = LIFECYCLE, base_url: str = BASE_URL
    ) -> None:
        """Keep what every request needs."""
        self._secret = "&" + urlencode({"securityToken": token})
        self._client = client
        self._kind = check_kind(kind)
        self._base_url = base_url

    def history(self, zone: str, start_s: float, end_s: float) -> Intensity:
        """The intensity of what is generated in the zone; imports are not in it."""
        outputs: list[Output] = []
        for part in parts(start_s - start_s % 3600.0, end_s - end_s % -3600.0, _LONGEST_S):
            outputs += self._part(zone, *part)
        source = f"{NAME} transparency platform, generation per type, with factors per source"
        like = Intensity((), zone, self._kind, "average", source, "ENTSO-E terms; IPCC factors")
        return series(mix_slots(outputs, self._kind), like)

    def _part(self, zone: str, start_s: float, end_s: float) -> list[Output]:
        """One answer's generation."""
        query = urlencode(
            {
                "documentType": "A75",
                "processType": "A16",
                "in_Domain": _eic(zone),
                "periodStart": _stamp(start_s),
                "periodEnd": _stamp(end_s),
            }
        )
        return self._client.get(
            NAME,
            f"{self._base_url}?{query}",
            parse_generation,
            secret_query=self._secret,
            keep_s=keep_for(end_s),
        )


def parse_generation(body: bytes) -> list[Output]:
    """Megawatts per interval and production type; consumption (pumping) is left out."""
    from xml.etree.ElementTree import ParseError, fromstring

    if b"<!DOCTYPE" in body[:2000] or b"<!ENTITY" in body:
        raise ProviderError(f"{NAME} answered a document with entities: refused")
    try:
        root = fromstring(body)
    except ParseError as error:
        raise ProviderError(f"{NAME} answered something that is not XML: {error}") from None
    if _tag(root).startswith("Acknowledgement"):
        reason = _text(root, "text") or "no reason given"
        raise ProviderError(f"{NAME} has no data: {' '.join(reason.split())[:160]}")
    return [output for series in _all(root, "TimeSeries") for output in _outputs(series)]


def mix_slots(outputs: Sequence[Output], kind: str) -> Iterator[Slot]:
    """One slot per time in which the mix is known: types may come in steps of their own."""
    factors = source_factors(kind)
    lowest, highest = min(factors.values()), max(factors.values())
    for start_s, end_s, mix in _mixes(outputs, factors):
        unknown = mix.pop(None, 0.0)
        known_mw = math.fsum(mix.values())
        if not known_mw > 0.0:
            continue
        grams = math.fsum(megawatts * factors[str(source)] for source, megawatts in mix.items())
        whole = known_mw + unknown
        yield Slot(
            start_s,
            end_s,
            grams / known_mw,
            (grams + unknown * lowest) / whole,
            (grams + unknown * highest) / whole,
        )


def _mixes(
    outputs: Sequence[Output], factors: Mapping[str, float]
) -> Iterator[tuple[float, float, dict[str | None, float]]]:
    """Megawatts per source between two moments at which any of them may change.

    A value that is missing is no zero: what it is part of has no mix.
    """
    edges = sorted(
        {edge for start_s, step_s, _, _ in outputs for edge in (start_s, start_s + step_s)}
    )
    place = {edge: index for index, edge in enumerate(edges)}
    mixes: list[dict[str | None, float]] = [{} for _ in edges]
    for start_s, step_s, production, megawatts in outputs:
        source = _SOURCES.get(production)
        known = source if source in factors else None
        for mix in mixes[place[start_s] : place[start_s + step_s]]:
            mix[known] = mix.get(known, 0.0) + megawatts
    for (start_s, end_s), mix in zip(pairwise(edges), mixes, strict=False):
        if mix and all(map(math.isfinite, mix.values())):
            yield start_s, end_s, mix


@lru_cache(maxsize=2)
def source_factors(kind: str) -> Mapping[str, float]:
    """g/kWh by source of electricity; a source without a figure of that kind is left out."""
    rows = read_rows(data_path("generation_factors.csv"), ("source_id", "lifecycle", "direct"))
    values = {row.required("source_id"): row.optional_number(kind) for row in rows}
    return {source: value for source, value in values.items() if value is not None}


def _outputs(series: Element) -> Iterator[Output]:
    """The intervals of one time series; a repeated value may be left out by the sender.

    A value that is missing otherwise is not a number.
    """
    if _text(series, "outBiddingZone_Domain.mRID") is not None:
        return
    production = _text(series, "psrType") or ""
    repeats = _text(series, "curveType") == "A03"
    for period in _all(series, "Period"):
        start_s = moment(_text(period, "start"), NAME)
        end_s = moment(_text(period, "end"), NAME)
        step_s = _STEPS_S.get(_text(period, "resolution") or "")
        if step_s is None:
            raise ProviderError(f"{NAME} answered a resolution that is not documented")
        points = _points(period)
        last = math.nan
        for position in range(1, round((end_s - start_s) / step_s) + 1):
            last = points.get(position, last if repeats else math.nan)
            yield start_s + (position - 1) * step_s, step_s, production, last


def _points(period: Element) -> dict[int, float]:
    """Megawatts by position."""
    points: dict[int, float] = {}
    for point in _all(period, "Point"):
        position, quantity = _text(point, "position"), _text(point, "quantity")
        try:
            points[int(position or "")] = max(0.0, float(quantity or ""))
        except ValueError:
            raise ProviderError(f"{NAME} answered a point without numbers") from None
    return points


def _eic(zone: str) -> str:
    """The code of a bidding zone."""
    if zone.upper() in _EIC:
        return _EIC[zone.upper()]
    if len(zone) == 16 and zone.isascii() and zone.startswith("10"):
        return zone
    raise UsageError(f"{NAME} knows no zone {zone!r}: use {', '.join(_EIC)} or a 16-letter EIC")


def _stamp(unix_s: float) -> str:
    """A moment as the service wants it."""
    from datetime import datetime, timezone

    return datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y%m%d%H%M")


def _tag(element: Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def _all(parent: Element, tag: str) -> Iterator[Element]:
    """All elements of that name below ``parent``."""
    return (element for element in parent.iter() if _tag(element) == tag)


def _text(parent: Element, tag: str) -> str | None:
    """The text of the first element of that name."""
    return next((element.text for element in _all(parent, tag)), None)
