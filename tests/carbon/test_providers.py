from __future__ import annotations

import os
import threading

import pytest
from provider_server import TOKEN, as_json, drip_server, provider_server

from pyprof.carbon.intensity import parse_utc, weigh
from pyprof.carbon.providers import Client, ProviderError, make_provider
from pyprof.carbon.providers.electricity_maps import ElectricityMaps
from pyprof.carbon.providers.watttime import WattTime
from pyprof.errors import UsageError

ENVIRON = {
    "PYPROF_ELECTRICITY_MAPS_TOKEN": TOKEN,
    "PYPROF_WATTTIME_USER": "user",
    "PYPROF_WATTTIME_PASSWORD": "pass",
    "PYPROF_ENTSOE_TOKEN": TOKEN,
}
MIDNIGHT = parse_utc("2026-01-01T00:00Z", "test")
HOUR = 3600.0


@pytest.fixture
def server():
    with provider_server() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(tmp_path, waits) -> Client:
    return Client(timeout_s=5.0, cache_dir=str(tmp_path / "cache"), sleep=waits.append)


def provider(name: str, server, client, route: str, kind: str = "lifecycle", environ=ENVIRON):
    return make_provider(name, environ, client, kind, f"{server[0]}/{route}")


def test_electricity_maps_gives_hours_and_leaves_a_gap_a_gap(server, client) -> None:
    grid = provider("electricity-maps", server, client, "em").history(
        "FR", MIDNIGHT, MIDNIGHT + 8 * HOUR
    )
    assert [slot.g_per_kwh for slot in grid.slots] == [40, 41, 42, 43, 44, 46, 47]
    assert (grid.zone, grid.kind, grid.signal) == ("FR", "lifecycle", "average")
    night = weigh([(MIDNIGHT, MIDNIGHT + 8 * HOUR, 8 * 3.6e6)], grid)
    assert night.missing_j == pytest.approx(3.6e6)


def test_electricity_maps_always_says_the_zone_and_the_kind(server, client) -> None:
    em = ElectricityMaps(TOKEN, client, "direct", f"{server[0]}/em")
    assert em.latest("FR").slots[0].g_per_kwh == 49
    (request,) = server[1].requests
    assert "zone=FR" in request
    assert "emissionFactorType=direct" in request
    assert "disableCallerLookup=true" in request
    assert TOKEN not in request


def test_electricity_maps_asks_long_spans_in_parts(server, client) -> None:
    grid = provider("electricity-maps", server, client, "em").history(
        "FR", MIDNIGHT, MIDNIGHT + 25 * 24 * HOUR
    )
    assert server[1].seen["em"] == 3
    assert len(grid.slots) == 25 * 23


def test_watttime_is_marginal_direct_and_in_pounds(server, client) -> None:
    grid = provider("watttime", server, client, "wt").history(
        "CAISO_NORTH", MIDNIGHT, MIDNIGHT + HOUR
    )
    assert (grid.signal, grid.kind, len(grid.slots)) == ("marginal", "direct", 12)
    assert grid.slots[0].g_per_kwh == pytest.approx(453.59237)


def test_watttime_finds_a_region_and_its_forecast(server, client) -> None:
    wt = WattTime("user", "pass", client, f"{server[0]}/wt")
    assert wt.region(37.8, -122.4) == "CAISO_NORTH"
    assert len(wt.forecast("CAISO_NORTH").slots) == 12


def test_watttime_in_another_unit_is_refused(server, client) -> None:
    answer = {"data": [], "meta": {"units": "g_co2_per_kwh"}}
    server[1].queue += [as_json({"token": TOKEN}), as_json(answer)]
    with pytest.raises(ProviderError, match="lbs_co2_per_mwh"):
        provider("watttime", server, client, "wt").history("CAISO_NORTH", MIDNIGHT, MIDNIGHT + 1)


@pytest.mark.parametrize("zone", ["GB", "SW1A 1AA"])
def test_the_uk_prefers_actual_values_and_leaves_gaps(server, client, zone: str) -> None:
    grid = provider("uk", server, client, "uk").history(zone, MIDNIGHT, MIDNIGHT + 5 * HOUR)
    assert [slot.g_per_kwh for slot in grid.slots] == [120] * 6 + [130] * 2
    assert grid.licence == "CC-BY-4.0"


def test_entsoe_mixes_are_priced_per_source_and_other_is_unknown(server, client) -> None:
    grid = provider("entsoe", server, client, "en").history("FR", MIDNIGHT, MIDNIGHT + 3 * HOUR)
    clean = (3000 * 12 + 1000 * 490) / 4000
    assert [slot.g_per_kwh for slot in grid.slots] == [pytest.approx(clean)] * 3
    first, unsure, _ = grid.slots
    assert (first.low_g, first.high_g) == (pytest.approx(clean), pytest.approx(clean))
    assert unsure.low_g == pytest.approx((clean * 4000 + 1000 * 11) / 5000)
    assert unsure.high_g == pytest.approx((clean * 4000 + 1000 * 820) / 5000)


def test_entsoe_never_shows_nor_keeps_its_token(server, client, tmp_path) -> None:
    provider("entsoe", server, client, "en").history("FR", MIDNIGHT, MIDNIGHT + 3 * HOUR)
    for name in os.listdir(tmp_path / "cache"):
        assert TOKEN not in name
        assert TOKEN.encode() not in (tmp_path / "cache" / name).read_bytes()
    with pytest.raises(ProviderError, match="No matching data found") as caught:
        provider("entsoe", server, client, "en").history("DE", MIDNIGHT, MIDNIGHT + 1)
    assert TOKEN not in str(caught.value)


def test_watttime_asks_long_spans_in_parts_of_a_month(server, client) -> None:
    grid = provider("watttime", server, client, "wt").history(
        "CAISO_NORTH", MIDNIGHT, MIDNIGHT + 61 * 24 * HOUR
    )
    asked = [path for path in server[1].requests if "historical" in path]
    assert len(asked) == 3
    assert len(grid.slots) == 61 * 288


def test_entsoe_asks_no_more_than_a_year_at_once(server, client) -> None:
    en = provider("entsoe", server, client, "en")
    en.history("FR", MIDNIGHT - 400 * 24 * HOUR, MIDNIGHT + 3 * HOUR)
    assert server[1].seen["en"] == 2


@pytest.mark.parametrize("name", ["em", "uk"])
def test_what_a_provider_estimated_is_told_apart(server, client, name: str) -> None:
    if name == "em":
        rows = [
            {"datetime": f"2026-01-01T0{h}:00:00Z", "carbonIntensity": 50, "isEstimated": h == 1}
            for h in range(4)
        ]
        server[1].queue += [as_json({"data": rows})]
        em = provider("electricity-maps", server, client, "em")
        grid, hours = em.history("FR", MIDNIGHT, MIDNIGHT + 4 * HOUR), 4
    else:
        grid = provider("uk", server, client, "uk").history("GB", MIDNIGHT, MIDNIGHT + 4 * HOUR)
        hours = 4
    night = weigh([(MIDNIGHT, MIDNIGHT + hours * HOUR, hours * 3.6e6)], grid)
    assert (night.covered_j, night.estimated_j) == (pytest.approx(4 * 3.6e6), pytest.approx(3.6e6))


def quarters(production: str, quantities, curve: str = "A01", step: str = "PT15M") -> str:
    points = "".join(
        f"<Point><position>{i}</position><quantity>{q}</quantity></Point>"
        for i, q in enumerate(quantities, start=1)
        if q is not None
    )
    return (
        "<TimeSeries><inBiddingZone_Domain.mRID>10Y</inBiddingZone_Domain.mRID>"
        f"<curveType>{curve}</curveType><MktPSRType><psrType>{production}</psrType></MktPSRType>"
        "<Period><timeInterval><start>2026-01-01T00:00Z</start><end>2026-01-01T01:00Z</end>"
        f"</timeInterval><resolution>{step}</resolution>{points}</Period></TimeSeries>"
    )


def test_types_of_generation_may_come_in_steps_of_their_own(server, client) -> None:
    """An hour of nuclear beside four quarters of gas."""
    body = f"<D>{quarters('B14', [900], step='PT60M')}{quarters('B04', [100, 300, 100, 100])}</D>"
    server[1].queue += [(200, {}, body.encode())]
    grid = provider("entsoe", server, client, "en").history("FR", MIDNIGHT, MIDNIGHT + HOUR)
    assert [slot.end_s - slot.start_s for slot in grid.slots] == [900.0] * 4
    usual, peak = (900 * 12 + 100 * 490) / 1000, (900 * 12 + 300 * 490) / 1200
    assert [s.g_per_kwh for s in grid.slots] == pytest.approx([usual, peak, usual, usual])


def test_a_value_missing_from_a_mix_is_no_zero(server, client) -> None:
    """Without its nuclear share a quarter would look like gas alone: it has no mix at all."""
    body = f"<D>{quarters('B14', [900, None, 900, 900])}{quarters('B04', [100] * 4)}</D>"
    server[1].queue += [(200, {}, body.encode())]
    grid = provider("entsoe", server, client, "en").history("FR", MIDNIGHT, MIDNIGHT + HOUR)
    assert [slot.start_s - MIDNIGHT for slot in grid.slots] == [0.0, 1800.0, 2700.0]
    assert len({slot.g_per_kwh for slot in grid.slots}) == 1


def test_a_damaged_cache_is_asked_anew(server, client, tmp_path) -> None:
    uk = provider("uk", server, client, "uk")
    first = uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    (kept,) = (tmp_path / "cache").iterdir()
    for damage in (b"", b"{", b"[]", b"\xff", b'{"data": 1}'):
        kept.write_bytes(damage)
        assert uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR) == first
    assert server[1].seen["uk"] == 6


def test_an_error_that_looks_like_an_answer_is_not_kept(server, client) -> None:
    uk = provider("uk", server, client, "uk")
    server[1].queue += [as_json({"error": "upstream\u0007 is down"})]
    with pytest.raises(ProviderError, match="upstream"):
        uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    assert len(uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR).slots) == 2


def test_an_answer_that_is_cut_short_is_asked_again(server, client, waits) -> None:
    body = as_json({"data": []})[2]
    server[1].queue += [(200, {"Content-Length": str(len(body) + 9)}, body)]
    uk = provider("uk", server, client, "uk")
    assert len(uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR).slots) == 2
    assert len(waits) == 1


def test_an_answer_that_drips_is_given_up() -> None:
    with drip_server() as url:
        client = Client(timeout_s=5.0, deadline_s=0.2, retries=0, cache_dir=None)
        with pytest.raises(ProviderError, match="no whole answer within"):
            make_provider("uk", {}, client, base_url=url).history("GB", MIDNIGHT, MIDNIGHT + HOUR)


@pytest.mark.parametrize(
    ("when", "low", "high"),
    [("Thu, 01 Jan 1970 00:00:00 GMT", 0.0, 0.0), ("soon", 0.5, 0.5), ("-1", 0.5, 0.5)],
)
def test_a_wait_may_be_a_date(server, client, waits, when: str, low: float, high: float) -> None:
    server[1].queue += [as_json({}, 429, **{"Retry-After": when})]
    provider("uk", server, client, "uk").history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    assert low <= waits[0] <= high


def test_a_refusal_is_told_in_the_providers_own_words(server, client) -> None:
    wt = provider("watttime", server, client, "wt")
    with pytest.raises(ProviderError, match="You don't have permission for this region"):
        wt.history("ERCOT", MIDNIGHT, MIDNIGHT + HOUR)


def test_an_answer_is_asked_for_once(server, client) -> None:
    uk = provider("uk", server, client, "uk")
    first = uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    assert uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR) == first
    assert server[1].seen["uk"] == 1


def test_rate_limits_are_waited_out_as_asked(server, client, waits) -> None:
    server[1].queue += [as_json({}, 429, **{"Retry-After": "7"}), as_json({}, 503)]
    grid = provider("uk", server, client, "uk").history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    assert len(grid.slots) == 2
    assert waits == [7.0, 1.0]


def test_a_wait_that_is_too_long_is_said_instead_of_waited(server, client, waits) -> None:
    server[1].queue += [as_json({}, 429, **{"Retry-After": "3600"})]
    with pytest.raises(ProviderError, match="asks to wait 3600 s"):
        provider("uk", server, client, "uk").history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    assert waits == []


def test_patience_ends(server, client, waits) -> None:
    server[1].queue += [as_json({}, 500)] * 10
    with pytest.raises(ProviderError, match="HTTP 500"):
        provider("uk", server, client, "uk").history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    assert len(waits) == 3


def test_wrong_credentials_are_not_tried_again(server, client, waits) -> None:
    environ = {"PYPROF_ELECTRICITY_MAPS_TOKEN": "wrong"}
    em = provider("electricity-maps", server, client, "em", environ=environ)
    with pytest.raises(ProviderError, match="refused the credentials"):
        em.history("FR", MIDNIGHT, MIDNIGHT + HOUR)
    assert waits == []


def test_an_unknown_zone_says_so(server, client) -> None:
    with pytest.raises(ProviderError, match="404"):
        provider("electricity-maps", server, client, "em").history("XX", MIDNIGHT, MIDNIGHT + 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"data": 3}', b'{"data": [1]}', b'{"data": []}', b'{"data"'],
)
def test_an_answer_of_another_shape_is_one_sentence(server, client, body: bytes) -> None:
    server[1].queue += [(200, {}, body)]
    with pytest.raises(ProviderError) as caught:
        provider("uk", server, client, "uk").history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<a", b"<!DOCTYPE x [<!ENTITY y 'z'>]><x>&y;</x>"])
def test_entsoe_of_another_shape_is_one_sentence(server, client, body: bytes) -> None:
    server[1].queue += [(200, {}, body)]
    with pytest.raises(ProviderError):
        provider("entsoe", server, client, "en").history("FR", MIDNIGHT, MIDNIGHT + HOUR)


def test_a_server_that_does_not_answer_is_given_up(server, tmp_path) -> None:
    release = threading.Event()

    def stall():
        release.wait(20)
        return as_json({})

    server[1].queue += [stall, stall]
    client = Client(timeout_s=0.2, retries=1, cache_dir=None, sleep=lambda _: None)
    with pytest.raises(ProviderError, match="can't be reached"):
        provider("uk", server, client, "uk").history("GB", MIDNIGHT, MIDNIGHT + HOUR)
    release.set()


def test_nobody_listening_is_one_sentence(client) -> None:
    uk = make_provider("uk", {}, client, base_url="http://127.0.0.1:9")
    with pytest.raises(ProviderError, match="can't be reached"):
        uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR)


def test_a_redirect_does_not_carry_the_token_elsewhere(server, client) -> None:
    server[1].queue += [(302, {"Location": f"{server[0]}/em/elsewhere"}, b"")]
    with pytest.raises(ProviderError, match="HTTP 302"):
        provider("electricity-maps", server, client, "em").history("FR", MIDNIGHT, MIDNIGHT + 1)
    assert len(server[1].requests) == 1


def test_an_address_that_is_a_file_is_refused(client) -> None:
    with pytest.raises(ProviderError, match="https"):
        make_provider("uk", {}, client, base_url="file:///etc").history("GB", 0.0, HOUR)


def test_missing_tokens_are_named() -> None:
    with pytest.raises(UsageError, match="PYPROF_WATTTIME_USER and PYPROF_WATTTIME_PASSWORD"):
        make_provider("watttime", {})
    with pytest.raises(UsageError, match="unknown provider 'gridbot'"):
        make_provider("gridbot", {})


def test_a_cache_that_can_not_be_written_only_costs_requests(server, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    client = Client(cache_dir=str(blocked / "cache"))
    uk = provider("uk", server, client, "uk")
    assert uk.history("GB", MIDNIGHT, MIDNIGHT + HOUR) == uk.history(
        "GB", MIDNIGHT, MIDNIGHT + HOUR
    )
    assert server[1].seen["uk"] == 2
