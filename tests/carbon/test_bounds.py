from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyprof.carbon.bounds import (
    Term,
    dominating,
    interval,
    merge_terms,
    round_to,
    sum_intervals,
)
from pyprof.carbon.equivalents import equivalents, load_equivalences
from pyprof.errors import UsageError

terms = st.lists(
    st.builds(Term, st.sampled_from("abcd"), st.floats(0, 1), st.floats(0, 4)), max_size=6
)


@given(st.floats(0, 1e9), terms)
def test_an_interval_holds_its_figure_and_is_the_same_every_time(kg: float, causes) -> None:
    low, high = interval(kg, causes)
    assert 0 <= low <= kg <= high
    assert interval(kg, reversed(causes)) == pytest.approx((low, high), rel=1e-12)


@given(st.floats(1, 1e6), terms, st.builds(Term, st.just("new"), st.floats(0, 1), st.floats(0, 1)))
def test_another_cause_never_makes_it_surer(kg: float, causes, another) -> None:
    low, high = interval(kg, causes)
    wider_low, wider_high = interval(kg, [*causes, another])
    assert wider_low <= low * (1 + 1e-12)
    assert wider_high >= high * (1 - 1e-12)


def test_one_cause_adds_up_and_causes_go_in_quadrature() -> None:
    causes = [Term("gpu", 0.03, 0.03), Term("gpu", 0.01, 0.01), Term("pue", 0.03, 0.03)]
    assert interval(100.0, causes) == (pytest.approx(95.0), pytest.approx(105.0))
    widest = dominating(causes)
    assert widest is not None
    assert widest.cause == "gpu"
    assert len(merge_terms(causes)) == 2


def test_quadrature_agrees_with_a_simulation() -> None:
    draw = random.Random(1)
    causes = [Term("factor", 0.10, 0.10), Term("sensor", 0.05, 0.05), Term("pue", 0.05, 0.05)]
    samples = sorted(
        math.prod(1 + draw.gauss(0, term.above / 1.96) for term in causes) for _ in range(20000)
    )
    low, high = interval(1.0, causes)
    assert samples[500] == pytest.approx(low, abs=0.01)
    assert samples[-500] == pytest.approx(high, abs=0.01)


def test_a_sum_of_independent_parts() -> None:
    assert sum_intervals([(10, 7, 13), (20, 16, 24)]) == (30, pytest.approx(25), pytest.approx(35))


@given(st.floats(1e-9, 1e12), st.integers(1, 6))
def test_rounding_keeps_that_many_digits(value: float, digits: int) -> None:
    assert round_to(value, digits) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_about_sixty_flights() -> None:
    flights = equivalents(50_532, ids=["flight_lhr_jfk_economy_return", "flight_press_2022"])
    assert [each.rounded for each in flights] == [66, 60]
    assert "return, economy, CO2e only" in flights[0].text
    assert "flight_lhr_jfk_economy_return, 2026" in flights[0].text


def test_fifty_four_miles() -> None:
    (miles,) = equivalents(18.917, ids=["car_mile_us_new_2020"])
    assert miles.rounded == 54
    assert "not re-read at its source" in miles.text


def test_never_more_than_two_digits() -> None:
    for each in equivalents(123_456.0):
        assert each.rounded == float(f"{each.count:.2g}")


def test_none_when_the_interval_spans_a_factor_of_three() -> None:
    assert equivalents(10.0, 5.0, 14.9)
    assert equivalents(10.0, 4.9, 14.9) == ()
    assert equivalents(10.0, 0.0, 11.0) == ()


def test_defaults_are_independent_of_published_results() -> None:
    table = load_equivalences()
    for each in equivalents(1000.0):
        assert not each.row.is_implied
        assert each.row.verified != "no"
    assert table["flight_press_2022"].is_implied
    assert {e.row.id.split("_")[0] for e in equivalents(1.0)} == {
        "flight",
        "car",
        "home",
        "smartphone",
    }


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("tree_10y", "uptake"), ("tv_hour", "power"), ("elephants", "unknown equivalence")],
)
def test_what_is_no_equivalent_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        equivalents(1.0, ids=[name])


def test_nothing_is_equivalent_to_the_unknown() -> None:
    assert equivalents(None) == ()
    assert equivalents(0.0) == ()
