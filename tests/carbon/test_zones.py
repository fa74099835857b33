from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pyprof.carbon import compare, find_factor, load_grid
from pyprof.carbon.grid import _spelling, country_of
from pyprof.errors import UnknownZoneError, UsageError


@pytest.mark.parametrize("spelling", ["FR", "fr", " FRA ", "France", "FRANCE", "aws:eu-west-3"])
def test_one_place_answers_to_all_its_spellings(spelling: str) -> None:
    assert find_factor(spelling).factor.g_per_kwh == 44.18
    assert find_factor(spelling).substituted is None


def test_accents_do_not_matter() -> None:
    assert find_factor("Reunion").zone == find_factor("Réunion").zone == "RE"


def test_a_state_uses_its_countrys_row_and_says_so() -> None:
    found = find_factor("US-CA")
    assert (found.zone, found.factor.zone, found.factor.kind) == ("US-CA", "US", "lifecycle")
    assert found.substituted is not None
    assert "US-CA has no life-cycle factor" in found.substituted
    assert found.beside is not None
    assert (found.beside.g_per_kwh, found.beside.kind) == (179.06, "direct")


def test_asked_for_direct_the_state_uses_its_own_figure() -> None:
    found = find_factor("US-CA", kind="direct")
    assert (found.factor.g_per_kwh, found.substituted) == (179.06, None)


def test_the_official_national_figure_is_the_countrys_row_of_its_kind() -> None:
    found = find_factor("CN", kind="direct")
    assert found.factor.zone == "CN-NATIONAL-MEE"
    assert found.substituted is not None


def test_a_provider_figure_is_kept_beside_the_life_cycle_one() -> None:
    found = find_factor("gcp:us-central1")
    assert found.factor.zone == "US"
    assert found.beside is not None
    assert found.beside.zone == "gcp:us-central1"


def test_without_a_country_row_of_the_kind_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has no direct factor.*ask for kind 'lifecycle'"):
        find_factor("FR", kind="direct")


@pytest.mark.parametrize(
    ("spelling", "near"), [("Frnace", "FR"), ("Germny", "DE"), ("eu-west-3", "aws:eu-west-3")]
)
def test_an_unknown_zone_is_refused_with_the_nearest_names(spelling: str, near: str) -> None:
    with pytest.raises(UnknownZoneError, match=near):
        find_factor(spelling)


def test_a_code_has_no_accents() -> None:
    with pytest.raises(UnknownZoneError):
        find_factor("AÙ")


def test_a_name_of_two_places_is_refused_with_both_codes() -> None:
    with pytest.raises(UnknownZoneError, match=r"GE .*US-GA"):
        find_factor("Georgia")


def test_a_country_whose_source_gives_zero_has_no_factor() -> None:
    with pytest.raises(UnknownZoneError, match="0 g/kWh"):
        find_factor("CF")


@pytest.mark.parametrize("zone", ["", "   "])
def test_an_empty_zone_is_no_place(zone: str) -> None:
    with pytest.raises(UnknownZoneError, match="empty"):
        find_factor(zone)


def test_the_world_is_used_only_by_name() -> None:
    assert find_factor("WORLD").factor.zone == "WORLD"
    for place in load_grid().places.values():
        if place.code != "WORLD":
            for kind in ("lifecycle", "direct"):
                try:
                    assert find_factor(place.code, kind).factor.zone != "WORLD"
                except UsageError:
                    continue


def test_an_area_that_is_only_covered_says_so() -> None:
    found = find_factor("CAISO", kind="direct")
    assert found.factor.zone == "US-EGRID-CAMX"
    assert found.substituted is not None
    assert "priced as US-EGRID-CAMX" in found.substituted


def test_every_place_round_trips_through_its_code_and_never_changes_kind() -> None:
    for code in load_grid().places:
        for kind in ("lifecycle", "direct"):
            try:
                found = find_factor(code.lower(), kind)
            except UsageError:
                continue
            assert (found.zone, found.factor.kind) == (code, kind)
            if found.beside is not None:
                assert found.beside.kind != kind


def test_a_subregion_of_puerto_rico_is_not_the_united_states() -> None:
    assert country_of("US-EGRID-PRMS") == "PR"
    assert find_factor("US-EGRID-PRMS").factor.zone == "PR"


@given(st.text(max_size=20))
def test_any_text_that_is_no_zone_is_refused_in_one_sentence(text: str) -> None:
    assume(_spelling(text) not in load_grid().spellings)
    with pytest.raises(UnknownZoneError, match="zone"):
        find_factor(text)


def test_a_users_table_replaces_and_extends(tmp_path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(
        "zone,name,gCO2e_per_kWh,kind,basis,year,source,licence\n"
        "FR,France,50,lifecycle,consumption,2025,my utility,mine\n"
        "LAB,Our lab,12.5,direct,production,2026,roof panels,mine\n"
    )
    assert find_factor("France", table=str(table)).factor.source == "my utility"
    assert find_factor("lab", "direct", str(table)).factor.g_per_kwh == 12.5
    assert find_factor("FR").factor.g_per_kwh == 44.18
    table.write_text(table.read_text().replace(",50,", ",51,"))
    assert find_factor("FR", table=str(table)).factor.g_per_kwh == 51


def test_marginal_and_average_are_never_ranked_together(tmp_path) -> None:
    table = tmp_path / "mine.csv"
    head = "zone,name,gCO2e_per_kWh,kind,basis,year,source,licence,signal,accounting\n"
    table.write_text(head + "LAB,Our lab,12.5,lifecycle,production,2026,mine,mine,marginal,\n")
    rows = compare(3.6e6, ["FR", "LAB"], table=str(table))
    assert rows[0].kg_co2e == pytest.approx(0.04418)
    assert rows[1].kg_co2e is None
    assert "never ranked" in rows[1].refused
    table.write_text(head + "LAB,Our lab,0,lifecycle,production,2026,mine,mine,,market\n")
    with pytest.raises(UsageError, match="market_g_per_kwh"):
        find_factor("LAB", table=str(table))
