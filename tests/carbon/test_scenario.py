from __future__ import annotations

import json

import pytest
from report_double import make_report

from pyprof.carbon import Scenario, account, footprint
from pyprof.carbon.scenario import read_scenario
from pyprof.errors import NewerSchemaError, UsageError

FULL = """
schema = 1
zone = "FR"
pue = 1.25
kind = "lifecycle"
market_g_per_kwh = 10
market_source = "supplier contract 2026"
loss_fraction = 0.06
wue_l_per_kwh = 1.08
water_l_per_kwh = 3.9
price_per_kwh = 0.2
currency = "EUR"
idle_share = 0.3
functional_unit = "request"
functional_units = 1000

[[embodied]]
component = "NVIDIA A100 SXM4 80GB"
hours = 800
clock = "reserved"

[[embodied]]
name = "our server"
kg = 2500
low_kg = 1500
high_kg = 3500
hours = 100
share = 0.5
lifetime_years = 4
utilisation = 0.9
"""


@pytest.fixture
def scenario(tmp_path) -> Scenario:
    path = tmp_path / "scenario.toml"
    path.write_text(FULL)
    return read_scenario(str(path))


def test_a_file_says_every_choice(scenario) -> None:
    reserved, server = scenario.embodied
    assert (reserved.clock, reserved.utilisation, reserved.lifetime_years) == ("reserved", 1.0, 6)
    assert (server.label, server.share, server.utilisation) == ("our server", 0.5, 0.9)


def test_each_account_follows_its_own_rule(scenario) -> None:
    result = footprint({"training": 100.0}, scenario)
    aside = result.aside
    assert result.kg_co2e == pytest.approx(100 * 1.25 * 0.04418)
    assert aside.market_kg == pytest.approx(100 * 1.25 * 0.010)
    assert aside.losses_kg == pytest.approx(result.kg_co2e * 0.06 / 0.94)
    assert aside.water_on_site_l == pytest.approx(108)  # on IT energy
    assert aside.water_off_site_l == pytest.approx(100 * 1.25 * 3.9)
    assert aside.cost == pytest.approx(25)
    assert aside.idle_kg + aside.dynamic_kg == pytest.approx(result.kg_co2e)
    made = 200 * 800 / (6 * 8760) + 2500 * 0.5 * 100 / (4 * 8760 * 0.9)
    assert aside.embodied_kg == pytest.approx(made)
    assert aside.kg_per_unit == pytest.approx((result.kg_co2e + made) / 1000)


def test_what_was_not_asked_for_is_unknown_and_not_zero() -> None:
    aside = footprint({"training": 1.0}, Scenario(zone="FR")).aside
    assert aside.water_on_site_l is aside.losses_kg is aside.market_kg is aside.cost is None


def test_every_choice_is_in_the_result(scenario) -> None:
    block = json.loads(json.dumps(footprint({"training": 1.0}, scenario).to_dict()))
    for name in ("pue", "kind", "loss_fraction", "wue_l_per_kwh", "idle_share", "currency"):
        assert name in block["scenario"]
    assert block["scenario"]["embodied"][0]["lifetime_years"] == 6


def test_water_is_charged_once_on_energy_with_the_overhead_inside() -> None:
    inside = Scenario(
        factor_g_per_kwh=1, pue=1.25, energy_includes_pue=True, wue_l_per_kwh=1, water_l_per_kwh=1
    )
    aside = footprint({"training": 125.0}, inside).aside
    assert aside.water_on_site_l == pytest.approx(100)
    assert aside.water_off_site_l == pytest.approx(125)


def test_a_recording_keeps_the_factor_it_was_priced_with() -> None:
    block = account(make_report([("", "training", 3.6e6)]), Scenario(zone="FR")).to_dict()
    factor = block["factors"][0]
    again = Scenario(zone="FR", factor_g_per_kwh=factor["g_per_kwh"])
    same = account(make_report([("", "training", 3.6e6)]), again)
    assert same.kg_co2e == block["kg_co2e"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("zone = 3", "zone must be a text"),
        ("pue = 0.5", "pue must be at least 1"),
        ("pue = true", "pue must be a number"),
        ("pue = nan", "finite"),
        ("zoen = 'FR'", "unknown key 'zoen': did you mean 'zone'"),
        ("price_per_kwh = 1", "needs a currency"),
        ("loss_fraction = 1.5", "at most 0.99"),
        ("kind = 'green'", "kind must be"),
        ("energy_includes_pue = 1", "true or false"),
        ("embodied = 3", r"written as \[\[embodied\]\]"),
        ("[[embodied]]\nkg = 3", "hours is missing"),
        ("[[embodied]]\nhours = 3", "component or kg is missing"),
        ("[[embodied]]\nkg = 3\nhours = 1\nclock = 'sun'", "clock must be"),
        ("[[embodied]]\nkg = 3\nhours = 1\nutilisation = 0", "above 0"),
        ("zone = 'FR", "not valid TOML"),
        ("schema = 'x'", "schema must be"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, text: str, sentence: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence) as caught:
        read_scenario(str(path))
    assert str(path) in str(caught.value)


def test_a_newer_file_and_a_missing_one(tmp_path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("schema = 2")
    with pytest.raises(NewerSchemaError):
        read_scenario(str(path))
    with pytest.raises(UsageError, match="No such file"):
        read_scenario(str(tmp_path / "none.toml"))


def test_paths_in_a_file_count_from_its_folder(tmp_path) -> None:
    (tmp_path / "mine.csv").write_text(
        "zone,name,gCO2e_per_kWh,kind,basis,year,source,licence\n"
        "LAB,Lab,10,lifecycle,production,2026,meter,mine\n"
    )
    path = tmp_path / "s.toml"
    path.write_text("zone = 'LAB'\nfactor_table = 'mine.csv'")
    assert footprint({"training": 1.0}, read_scenario(str(path))).kg_co2e == pytest.approx(0.01)
