from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyprof.carbon.case_inputs import INPUT_NAMES, read_inputs
from pyprof.carbon.cases import check_cases, check_file, published_cases_path
from pyprof.carbon.quantities import QUANTITIES, find_quantity
from pyprof.carbon.toml import parse_toml
from pyprof.errors import NewerSchemaError, PyprofError, UsageError


def figure(quantity: str, **inputs: object) -> float:
    return find_quantity(quantity, "test").of(read_inputs(inputs, "test"))


@pytest.mark.parametrize(
    "outcome",
    check_file(published_cases_path()),
    ids=lambda outcome: f"{outcome.id}-{outcome.quantity}-{outcome.model or ''}",
)
def test_every_published_figure_comes_out_to_its_tolerance(outcome) -> None:
    assert outcome.passes, f"published {outcome.expected}, computed {outcome.computed}"


def test_a_wrong_figure_does_not_pass() -> None:
    cases = {
        "case": [
            {
                "id": "wrong",
                "inputs": {"energy_kwh": 1000, "factor_g_per_kwh": 57},
                "expect": [{"quantity": "operational_kg", "expected": 58, "tolerance_rel": 0.01}],
            }
        ]
    }
    (outcome,) = check_cases(cases, "cases")
    assert (outcome.computed, outcome.passes) == (pytest.approx(57), False)


def test_rounded_factors_would_lose_a_tenth() -> None:
    inputs = {
        "gpu_hours": 1082990,
        "gpu_embodied_kg": 150,
        "lifetime_years": 6,
        "utilisation": 0.85,
    }
    rounded_t = round(figure("embodied_kg_per_gpu_hour", **inputs), 3) * 1082990 / 1000
    assert figure("embodied_gpus_t", **inputs) == pytest.approx(3.636, rel=1e-3)
    assert rounded_t == pytest.approx(3.249, rel=1e-3)


def test_pounds_are_not_kilograms() -> None:
    assert figure("operational_lb", energy_kwh=100, factor_lb_per_kwh=0.954) == pytest.approx(95.4)
    assert figure("operational_kg", energy_kwh=100, factor_lb_per_kwh=0.954) == pytest.approx(
        95.4 * 0.45359237
    )
    assert figure("factor_g_per_kwh", factor_lb_per_kwh=0.954) == pytest.approx(432.73, rel=1e-4)
    assert figure("operational_kg", energy_kwh=1000, factor_lb_per_mwh=1000) == pytest.approx(
        453.59237
    )


def test_a_pue_inside_is_not_applied_again() -> None:
    published = {"energy_mwh": 1287, "pue": 1.1, "factor_g_per_kwh": 429}
    assert figure("operational_t", **published, energy_includes_pue=True) == pytest.approx(552.123)
    assert figure("it_operational_t", **published, energy_includes_pue=True) == pytest.approx(
        501.93
    )
    assert figure("operational_t", **published) == pytest.approx(607.3353)


def test_a_measured_idle_row_and_a_pue_are_not_both_applied() -> None:
    rows = {"dynamic_kwh": 433196, "idle_kwh": 256646, "factor_g_per_kwh": 57}
    assert figure("total_t", **rows) == pytest.approx(39.32, rel=1e-3)
    assert figure("total_kwh", **rows) == pytest.approx(433196 + 256646)
    beside = {"energy_kwh": 433196, "idle_kwh": 256646, "factor_g_per_kwh": 57}
    assert figure("total_t", **beside) == pytest.approx(39.32, rel=1e-3)
    assert figure("operational_t", **beside) == pytest.approx(24.692, rel=1e-3)
    assert figure("total_t", **rows, pue=1.0) == figure("total_t", **rows)
    with pytest.raises(UsageError, match="both describe the overhead"):
        figure("total_t", **rows, pue=1.2)
    # Each part by itself is what it is.
    assert figure("dynamic_t", **rows, pue=1.2) == pytest.approx(24.692, rel=1e-3)
    assert figure("idle_t", **rows, pue=1.2) == pytest.approx(14.629, rel=1e-3)


def test_the_overhead_is_in_the_energy_and_no_part_of_the_work() -> None:
    for inputs in (
        {"dynamic_kwh": 433196},
        {"energy_kwh": 433196},
        {"gpu_hours": 1082990, "gpu_watts": 400},
    ):
        given = {**inputs, "pue": 1.2, "factor_g_per_kwh": 57}
        assert figure("dynamic_t", **given) == pytest.approx(24.692, rel=1e-4)
        assert figure("it_operational_t", **given) == pytest.approx(24.692, rel=1e-4)
        assert figure("operational_t", **given) == pytest.approx(29.631, rel=1e-4)


def test_reserved_hours_bear_the_manufacturing_and_used_hours_the_energy() -> None:
    inputs = {
        "gpu_hours": 1000,
        "reserved_gpu_hours": 2000,
        "gpu_watts": 400,
        "gpu_embodied_kg": 150,
        "lifetime_years": 4,
        "utilisation": 1.0,
    }
    assert figure("energy_kwh", **inputs) == pytest.approx(400)
    held = pytest.approx(150 * 2000 / (4 * 8760))
    assert figure("embodied_kg", **inputs) == held
    del inputs["reserved_gpu_hours"]
    assert figure("embodied_kg", **inputs, hours_reserved=2000) == held
    assert figure("embodied_kg", **inputs) == pytest.approx(150 * 1000 / (4 * 8760))


def test_the_shares_of_a_life_cycle_add_up() -> None:
    inputs = {
        "dynamic_kwh": 433196,
        "idle_kwh": 256646,
        "embodied_t": 11.2,
        "factor_g_per_kwh": 57,
    }
    shares = [figure(f"{part}_share", **inputs) for part in ("dynamic", "idle", "embodied")]
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx([0.489, 0.289, 0.222], abs=0.001)


def test_parity_of_training_and_use() -> None:
    inputs = {"training_kwh": 51686, "finetuning_kwh": 7571, "kwh_per_inference": 1e-4}
    assert figure("parity_inferences", **inputs) == pytest.approx(592_570_000, rel=1e-12)
    assert figure("parity_days", **inputs, requests_per_day=1e9) == pytest.approx(0.59257)


def test_deployment_per_day_and_per_request() -> None:
    daily = {"wh_per_request": 3.0, "requests_per_day": 1e9, "factor_g_per_kwh": 400, "pue": 1.2}
    assert figure("kwh_per_day", **daily) == pytest.approx(3.6e6)
    assert figure("t_per_day", **daily) == pytest.approx(1440)
    assert figure("g_per_request", **daily) == pytest.approx(1.44)
    served = {"energy_kwh": 864.249121, "requests": 230768, "failed_requests": 5879}
    assert figure("wh_per_served_request", **served) == pytest.approx(3.843, rel=1e-3)
    assert figure("requests_per_hour", **served, window_days=413 / 24) == pytest.approx(558.8, 1e-3)


def test_the_sci_of_a_reserved_node() -> None:
    inputs = {
        "energy_kwh": 1000,
        "factor_g_per_kwh": 500,
        "sci_embodied_kg": 2500,
        "time_reserved_hours": 24 * 365,
        "expected_lifespan_hours": 4 * 24 * 365,
        "resources_reserved": 2,
        "total_resources": 8,
        "functional_units": 1000,
    }
    assert figure("sci_embodied_kg", **inputs) == pytest.approx(156.25)
    assert figure("sci_g_per_unit", **inputs) == pytest.approx(656.25)


def test_a_scalar_expectation_over_a_table_of_models_is_their_sum() -> None:
    text = """
    [[case]]
    id = "llama-3.1"
    [case.inputs]
    gpu_watts = 700
    gpu_hours = { a = 1460000, b = 7000000, c = 30840000 }
    [[case.expect]]
    quantity = "gpu_hours"
    expected = 39300000
    tolerance_rel = 0
    """
    (outcome,) = check_cases(parse_toml(text, "t"), "t")
    assert outcome.passes


def test_a_table_of_inputs_may_differ_in_every_column() -> None:
    text = """
    [[case]]
    id = "table-4"
    [case.inputs]
    pue = { GPT-3 = 1.1, BLOOM = 1.2 }
    factor_g_per_kwh = { GPT-3 = 429, BLOOM = 57 }
    energy_mwh = { GPT-3 = 1287, BLOOM = 433 }
    energy_includes_pue = { GPT-3 = true, BLOOM = false }
    [[case.expect]]
    quantity = "it_operational_t"
    expected_by_model = { GPT-3 = 502, BLOOM = 25 }
    tolerance_rel = 0.02
    [[case.expect]]
    quantity = "operational_t"
    expected_by_model = { GPT-3 = 552, BLOOM = 30 }
    tolerance_rel = 0.02
    """
    outcomes = check_cases(parse_toml(text, "t"), "t")
    assert [o.model for o in outcomes] == ["GPT-3", "BLOOM"] * 2
    assert all(o.passes for o in outcomes)


CASE = {
    "id": "x",
    "inputs": {"energy_kwh": 1, "factor_g_per_kwh": 1},
    "expect": [{"quantity": "operational_g", "expected": 1, "tolerance_rel": 0.1}],
}
EXPECT = CASE["expect"][0]


@pytest.mark.parametrize(
    ("case", "named"),
    [
        ({**CASE, "inputs": {"gpu_hrs": 1}}, r"unknown input 'gpu_hrs': did you mean 'gpu_hours'"),
        ({**CASE, "expect": [{**EXPECT, "quantity": "operational_mt"}]}, "'operational_mt'"),
        ({**CASE, "expect": [{**EXPECT, "tolerence": 1}]}, "unknown key 'tolerence'"),
        ({**CASE, "surprise": 1}, "unknown key 'surprise'"),
        ({**CASE, "expect": [{"quantity": "energy_kwh", "expected": 1}]}, "tolerance_rel"),
        ({**CASE, "expect": [{**EXPECT, "expected": "much"}]}, "must be a number"),
        ({**CASE, "inputs": {"energy_kwh": -1}}, "at least 0"),
        ({**CASE, "inputs": {"energy_kwh": 1, "energy_mwh": 1}}, "says again"),
        ({**CASE, "inputs": {"energy_kwh": 1}}, "'factor_g_per_kwh' is missing"),
        ({**CASE, "inputs": {"energy_kwh": 1, "pue": 0.5}}, "pue must be at least 1"),
        ({**CASE, "inputs": {"energy_kwh": 1, "energy_includes_pue": 1}}, "true or false"),
        ({**CASE, "expect": []}, "are needed"),
        (
            {**CASE, "expect": [{**EXPECT, "expected": None, "expected_by_model": {}}]},
            "expected_by_model is empty",
        ),
        ({"inputs": {}}, "id is missing"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(case, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        check_cases({"case": [case]}, "cases.toml")


def test_a_newer_schema_says_so() -> None:
    with pytest.raises(NewerSchemaError):
        check_cases({"schema": 2, "case": [CASE]}, "cases.toml")


positive = st.floats(1e-6, 1e9)


@given(positive, st.floats(1, 3), positive)
def test_units_round_trip(kwh: float, pue: float, factor: float) -> None:
    one = figure("operational_kg", energy_kwh=kwh, pue=pue, factor_g_per_kwh=factor)
    for energy, by in (("wh", 1e3), ("mwh", 1e-3), ("gwh", 1e-6)):
        other = {f"energy_{energy}": kwh * by, "factor_kg_per_mwh": factor, "pue": pue}
        assert figure("operational_kg", **other) == pytest.approx(one, rel=1e-12)
    for mass, kg in (("g", 1e-3), ("t", 1e3), ("lb", 0.45359237)):
        same = figure(f"operational_{mass}", energy_kwh=kwh, pue=pue, factor_g_per_kwh=factor)
        assert same * kg == pytest.approx(one, rel=1e-12)


@given(
    st.dictionaries(
        st.sampled_from(INPUT_NAMES), st.one_of(st.floats(0, 1e6), st.booleans()), max_size=6
    ),
    st.sampled_from(sorted(QUANTITIES)),
)
def test_any_known_names_give_a_number_or_one_sentence(inputs, quantity: str) -> None:
    try:
        value = figure(quantity, **inputs)
    except PyprofError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert value >= 0
