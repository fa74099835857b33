from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyprof.carbon import Scenario, footprint
from pyprof.carbon.component import compare_devices, find_component, own_component
from pyprof.carbon.embodied import Holding, amortise, hold
from pyprof.errors import NotComparableError, UsageError


def test_the_published_shares_of_a_server_and_a_gpu() -> None:
    assert amortise(2500, 1, 6, 0.85) == pytest.approx(0.055958, rel=1e-4)
    assert amortise(150, 1082990, 6, 0.85) == pytest.approx(3636.1, rel=1e-4)


@given(st.floats(0, 1e4), st.floats(0, 1e6), st.floats(0.1, 10), st.floats(0.1, 1))
def test_a_whole_life_bears_the_whole_piece(kg, hours, years, utilisation) -> None:
    assert amortise(kg, years * 8760 * utilisation, years, utilisation) == pytest.approx(kg)
    split = amortise(kg, hours * 0.3, years, utilisation) + amortise(
        kg, hours * 0.7, years, utilisation
    )
    assert split == pytest.approx(amortise(kg, hours, years, utilisation), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "kg"),
    [
        ("NVIDIA A100-SXM4-80GB", 200),
        ("NVIDIA H100 80GB HBM3", 164),
        ("Tesla V100-SXM2-16GB", 205.6),
        ("nvidia l4", 123.5),
        ("Tesla T4", 130.7),
    ],
)
def test_drivers_names_are_understood(name: str, kg: float) -> None:
    assert find_component(name)[0].kg_co2e == kg


def test_a_piece_with_only_a_high_model_uses_its_class_and_says_so() -> None:
    component, said = find_component("H200")
    assert component.kg_co2e == 200
    assert component.high_kg == pytest.approx(1066.9)
    assert said is not None
    assert "1066.9 kg" in said


def test_a_piece_without_figure_uses_its_class_and_says_so() -> None:
    component, said = find_component("Tesla K80")
    assert "fallback" in component.name
    assert said == "no manufacturing figure for Tesla K80: that of its class is used"


def test_an_unknown_piece_is_refused() -> None:
    with pytest.raises(UsageError, match="no manufacturing figure for 'toaster'"):
        find_component("toaster")
    with pytest.raises(UsageError, match="could be"):
        find_component("A100")


def test_devices_are_compared_on_one_basis_only() -> None:
    rows = compare_devices(["H100 SXM5", "B200"], "published footprint")
    assert [row.kg_co2e for row in rows] == [164, 284]
    with pytest.raises(NotComparableError, match=r"L4.*modelled"):
        compare_devices(["H100 SXM5", "NVIDIA L4 24GB"], "published footprint")


def test_hardware_stands_beside_the_total_with_every_choice() -> None:
    piece = own_component("board", 1000, 900, 1500)
    holding = Holding(piece, hours=8760, share=0.25, lifetime_years=4, utilisation=1.0)
    result = footprint({"training": 1.0}, Scenario(factor_g_per_kwh=100, embodied=(holding,)))
    assert result.kg_co2e == pytest.approx(0.1)
    assert result.aside.embodied_kg == pytest.approx(62.5)
    assert result.aside.embodied_low_kg == pytest.approx(56.25)
    assert result.aside.embodied_high_kg == pytest.approx(93.75)
    (row,) = result.to_dict()["embodied"]
    assert (row["lifetime_years"], row["utilisation"], row["share"]) == (4, 1.0, 0.25)


def test_the_whole_of_bloom_in_python() -> None:
    servers = Holding(own_component("servers", 2500), hours=1082990 / 8)
    gpus = Holding(own_component("GPUs", 150), hours=1082990)
    result = footprint(
        {"training": 433196.0, "idle": 256646.0},
        Scenario(factor_g_per_kwh=57, embodied=(servers, gpus)),
    )
    assert result.total_kg == pytest.approx(50_500, rel=2e-3)
    assert result.by_phase["training"] == pytest.approx(24_692.172)


def test_an_interval_that_misses_its_figure_is_refused() -> None:
    with pytest.raises(UsageError, match="does not hold"):
        own_component("board", 100, 120, 150)


def test_holding_takes_the_clocks_own_utilisation() -> None:
    used, reserved = (hold("NVIDIA A100 PCIe 40GB", 100, clock=c) for c in ("used", "reserved"))
    assert (used.utilisation, reserved.utilisation) == (0.85, 1.0)
    assert used.kg_co2e == pytest.approx(181 * 100 / (6 * 8760 * 0.85))
    assert reserved.kg_co2e == pytest.approx(181 * 100 / (6 * 8760))
    priced = footprint({"training": 1.0}, Scenario(zone="FR", embodied=(used, reserved)))
    assert priced.aside.embodied_kg == pytest.approx(used.kg_co2e + reserved.kg_co2e)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"hours": -1}, "hours must be at least 0"),
        ({"share": 1.5}, "share must be"),
        ({"utilisation": 0}, "utilisation must be"),
        ({"lifetime_years": 0}, "lifetime_years must be"),
        ({"clock": "wall"}, "clock must be"),
        ({"basis": "guess"}, "no figure on the basis"),
    ],
)
def test_a_holding_that_can_not_be_is_refused(choices, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        hold("NVIDIA A100 PCIe 40GB", **{"hours": 1, **choices})
