from __future__ import annotations

import csv
from pathlib import Path

import pytest

import pyprof.carbon
from pyprof.carbon.component import find_component, known_accelerators, load_components
from pyprof.carbon.equivalents import load_equivalences
from pyprof.carbon.grid import country_of, find_factor, load_grid
from pyprof.errors import UsageError

DATA = Path(pyprof.carbon.__file__).parent / "data"
TABLES = {
    "grid_factors.csv": DATA / "grid_factors.csv",
    "cloud_regions.csv": DATA / "cloud_regions.csv",
    "embodied.csv": DATA / "embodied.csv",
    "equivalences.csv": DATA / "equivalences.csv",
    "generation_factors.csv": DATA / "generation_factors.csv",
    "device_power.csv": DATA.parent.parent / "data" / "device_power.csv",
}
YEARLESS_BECAUSE = ("year unknown", "launch year not in that list", "without a year")


def rows(name: str) -> list[dict[str, str]]:
    with TABLES[name].open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


@pytest.mark.parametrize("name", TABLES)
def test_no_row_lacks_provenance(name: str) -> None:
    for row in rows(name):
        assert row["source"], row
        assert row["licence"], row
        if not row["year"]:
            said = row["source"] + row.get("note", "")
            assert any(reason in said for reason in YEARLESS_BECAUSE), row


def test_the_tables_are_as_wide_as_they_claim() -> None:
    places = load_grid().places
    countries = {code for code in places if len(code) == 2 and code != "EU"}
    assert len(countries) >= 210

    def count(prefix: str) -> int:
        return sum(code.startswith(prefix) for code in places)

    states = [c for c in places if c.startswith("US-") and len(c) == 5]
    assert len(states) == 51
    assert count("US-EGRID-") == 28
    assert count("CA-") == 13
    assert count("AU-") == 8
    assert count("CN-") == 31
    assert sum(":" in code for code in places) >= 150
    assert len(known_accelerators()) >= 60


def test_every_accelerator_has_a_figure_with_its_interval_and_source() -> None:
    for name in known_accelerators():
        component, _ = find_component(name)
        assert 0 < component.low_kg <= component.kg_co2e <= component.high_kg
        assert component.source


def test_every_subdivision_has_a_life_cycle_factor_of_its_own_or_of_its_country() -> None:
    for code, place in load_grid().places.items():
        found = find_factor(code)
        own = place.own.get("lifecycle")
        if own is None and place.parent is None:
            assert found.factor.zone == country_of(code)
            assert found.substituted


def test_cloud_regions_that_repeat_a_zone_repeat_it_exactly() -> None:
    grid = {row["zone"]: row for row in rows("grid_factors.csv")}
    for row in rows("cloud_regions.csv"):
        if row["source"].startswith("zone mapping"):
            assert row["gCO2e_per_kWh"] == grid[row["grid_zone"]]["gCO2e_per_kWh"], row


def test_doubtful_rows_say_so_in_every_result() -> None:
    french = find_factor("FR").factor
    assert not french.licence_confirmed
    assert any("licence" in warning for warning in french.warnings(2026))
    state = find_factor("US-CA", "direct").factor
    assert any("not read at its source" in warning for warning in state.warnings(2026))
    sahara = find_factor("EH").factor
    assert any("stale" in warning for warning in sahara.warnings(2026))


def test_a_factor_is_stale_after_three_years() -> None:
    french = find_factor("FR").factor
    assert french.year == 2024
    assert not french.is_stale(2027)
    assert french.is_stale(2028)


def test_derived_flights_follow_from_their_own_rows() -> None:
    table = load_equivalences()
    per_km = table["flight_pkm_longhaul_economy"].kg_per_unit
    assert table["flight_lhr_jfk_economy_return"].kg_per_unit == pytest.approx(
        2 * 5540 * per_km, rel=2e-3
    )
    home = table["home_electricity_us_year"].kg_per_unit
    grid = find_factor("US", "direct").factor.g_per_kwh
    assert home == pytest.approx(10715 * grid / 1000, rel=1e-3)


def test_one_preferred_row_a_component() -> None:
    preferred = [row.name for row in load_components() if row.preferred]
    assert len(preferred) == len(set(preferred))


GOOD = "zone,name,gCO2e_per_kWh,kind,basis,year,source,licence\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty"),
        ("zone,name\nA,B\n", "lacks the column 'gCO2e_per_kWh'"),
        (GOOD + "ZZ,Z,fifty,direct,production,2024,s,l\n", "line 2: gCO2e_per_kWh is not a num"),
        (GOOD + "ZZ,Z,-5,direct,production,2024,s,l\n", "at least 0"),
        (GOOD + "ZZ,Z,5,green,production,2024,s,l\n", "kind must be"),
        (GOOD + "ZZ,Z,5,direct,production,MMXXIV,s,l\n", "not a year"),
        (GOOD + "ZZ,Z,5,direct,production,2024,,l\n", "column 'source' is empty"),
        (GOOD + "ZZ,Z,5,direct,production,2024,s\n", "7 cells where the header has 8"),
        (GOOD + "ZZ,Z,5,direct,production,2024,s,l\n" * 2, "two rows"),
        (GOOD + '"ZZ,Z,5,direct\n', "not valid CSV"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path, text: str, sentence: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        find_factor("ZZ", "direct", str(path))
