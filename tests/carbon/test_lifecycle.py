from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_double import make_report

from pyprof.carbon.lifecycle_file import life_cycle, life_cycle_from
from pyprof.carbon.table import data_path
from pyprof.carbon.toml import parse_toml
from pyprof.errors import NotComparableError, UnknownZoneError, UsageError


def account(text: str, reports=None):
    load = None if reports is None else lambda path: reports[path]
    return life_cycle_from(parse_toml(text, "model.toml"), "model.toml", load)


def test_the_making_of_bloom_is_fifty_tonnes() -> None:
    cycle = life_cycle(data_path("bloom.toml"))
    assert cycle.kg_co2e == pytest.approx(50_500, rel=2e-3)
    assert cycle.by_phase["training"] == pytest.approx(24_690, rel=1e-3)
    assert cycle.by_phase["idle"] == pytest.approx(14_600, rel=3e-3)
    assert cycle.by_phase["embodied"] == pytest.approx(11_200, rel=3e-3)
    assert cycle.low_kg < 32_000 < cycle.kg_co2e < cycle.high_kg
    assert cycle.dominating is not None
    assert cycle.dominating.cause == "design power"
    assert cycle.excluded


def test_bloom_in_use_is_nineteen_kilograms_a_day() -> None:
    cycle = life_cycle(data_path("bloom_api.toml"))
    assert cycle.deployment_kg_per_day == pytest.approx(18.92, rel=5e-4)
    assert cycle.by_quality["measured"] / cycle.kg_co2e == pytest.approx(0.753, abs=6e-4)
    assert cycle.use is not None
    assert cycle.use.g_per_request == pytest.approx(1.4756, rel=1e-3)
    assert cycle.use.making_kg is None


FULL = """
name = "model"
excluded = ["end of life"]
[scenario]
factor_g_per_kwh = 100
market_g_per_kwh = 10
[[phase]]
phase = "development"
energy_kwh = 500
quality = "measured"
low_kwh = 400
high_kwh = 600
[[phase]]
phase = "training"
energy_kwh = 1000
pue = 1.5
[[phase]]
phase = "deployment"
wh_per_request = 2.0
requests_per_day = 1e9
days = 2
[[embodied]]
name = "node"
kg = 2000
hours = 8760
lifetime_years = 4
utilisation = 1.0
"""


def test_two_columns_break_even_and_what_is_known() -> None:
    cycle = account(FULL)
    assert cycle.by_phase == {
        "embodied": pytest.approx(500),
        "development": pytest.approx(50),
        "training": pytest.approx(150),
        "deployment": pytest.approx(400_000),
    }
    assert cycle.market_kg == pytest.approx(500 + 5 + 15 + 40_000)
    assert cycle.by_quality == {
        "assumed": pytest.approx(500 + 150 + 400_000),
        "measured": pytest.approx(50),
    }
    use = cycle.use
    assert use is not None
    assert (use.requests, use.wh_per_request) == (2e9, pytest.approx(2))
    assert use.g_per_request == pytest.approx(0.2)
    assert use.making_g_per_request == pytest.approx(1000 * 700 / 2e9)
    assert use.break_even_requests == pytest.approx(700 / 0.0002)
    assert use.break_even_days == pytest.approx(3.5e6 / 1e9)
    assert use.parity_requests == pytest.approx((500 + 1500) / 0.002)
    assert cycle.rows[1].low_kg == pytest.approx(40)


def test_a_rows_own_zone_takes_the_shared_factor_away() -> None:
    cycle = account(
        "[scenario]\nfactor_g_per_kwh = 57\npue = 1.5\n"
        "[[phase]]\nphase = 'training'\nenergy_kwh = 1000\n"
        "[[phase]]\nphase = 'deployment'\nenergy_kwh = 1000\nzone = 'US'\n"
    )
    assert cycle.by_phase == {
        "training": pytest.approx(1.5 * 57),
        "deployment": pytest.approx(1.5 * 383.55),
    }


def test_published_parity() -> None:
    cycle = account(
        "[scenario]\nfactor_g_per_kwh = 1\n"
        "[[phase]]\nphase = 'training'\nenergy_kwh = 51686\n"
        "[[phase]]\nphase = 'training'\nname = 'fine-tuning'\nenergy_kwh = 7571\n"
        "[[phase]]\nphase = 'deployment'\nwh_per_request = 0.1\nrequests = 1000\n"
    )
    assert cycle.use is not None
    assert cycle.use.parity_requests == pytest.approx(592_570_000)


def test_a_market_column_with_a_hole_is_not_a_sum() -> None:
    text = "[[phase]]\nphase='training'\nenergy_kwh=1\nzone='FR'\nmarket_g_per_kwh=0\n"
    assert account(text).market_kg == 0
    both = text + "[[phase]]\nphase='deployment'\nenergy_kwh=1\nzone='FR'\n"
    assert account(both).market_kg is None


def report():
    return make_report(
        [("", "training", 3.6e6), ("fit", "training", 7.2e6), ("serve", "deployment", 3.6e6)],
        by_quality={"measured": 7.2e6, "modelled": 7.2e6},
    )


def test_a_recording_brings_its_own_phases() -> None:
    cycle = account(
        "[scenario]\nfactor_g_per_kwh=1000\n[[phase]]\nrecording='run.pyprof'\n",
        {"run.pyprof": report()},
    )
    assert cycle.by_phase == {"training": pytest.approx(3), "deployment": pytest.approx(1)}
    assert cycle.by_quality == {"measured": pytest.approx(2), "modelled": pytest.approx(2)}


def test_a_recording_in_a_life_cycle_can_be_priced_by_the_hour(tmp_path) -> None:
    (tmp_path / "grid.csv").write_text("start_utc,end_utc,g_per_kwh\n0,3600,100\n3600,7200,500\n")

    class Timed:
        whole = report()
        total, stage_rows, channel_rows = whole.total, whole.stage_rows, whole.channel_rows

        def power_series(self, path=None, phase=None, edges_s=None):
            late = [(3600.0, 7200.0, 3.6e6)]
            early = [(0.0, 3600.0, 10.8e6)]
            return late if path == "serve" else early if path is not None else early + late

    cycle = life_cycle_from(
        {
            "scenario": {"intensity": "grid.csv", "market_g_per_kwh": 10},
            "phase": [{"recording": "run.pyprof", "requests": 1000, "days": 2}],
        },
        str(tmp_path / "m.toml"),
        lambda path: Timed(),
    )
    assert cycle.by_phase == {"training": pytest.approx(0.3), "deployment": pytest.approx(0.5)}
    # Each row has its own share of everything, and none has the whole of it.
    assert cycle.market_kg == pytest.approx(4 * 0.01)
    assert [row.energy_kwh for row in cycle.rows] == pytest.approx([3, 1])
    assert cycle.use.wh_per_request == pytest.approx(1)
    assert cycle.deployment_kg_per_day == pytest.approx(0.25)
    whole = life_cycle_from(
        {
            "scenario": {"intensity": "grid.csv"},
            "phase": [{"recording": "run.pyprof", "phase": "development"}],
        },
        str(tmp_path / "m.toml"),
        lambda path: Timed(),
    )
    assert whole.by_phase == {"development": pytest.approx(0.8)}


def test_a_recording_can_be_given_a_phase_as_a_whole() -> None:
    cycle = account(
        "[scenario]\nfactor_g_per_kwh=1000\n"
        "[[phase]]\nphase='development'\nrecording='run.pyprof'\n",
        {"run.pyprof": report()},
    )
    assert cycle.by_phase == {"development": pytest.approx(4)}


def test_a_recording_is_never_counted_twice(tmp_path) -> None:
    text = (
        "[scenario]\nfactor_g_per_kwh=1\n[[phase]]\nrecording='a.pyprof'\n"
        "[[phase]]\nphase='development'\nrecording='./a.pyprof'\n"
    )
    with pytest.raises(UsageError, match="already counted"):
        account(text, {"a.pyprof": report(), "./a.pyprof": report()})


def test_kinds_are_never_mixed_in_one_total() -> None:
    with pytest.raises(NotComparableError, match=r"lifecycle.*direct"):
        account(
            "[[phase]]\nphase='training'\nenergy_kwh=1\nzone='FR'\n"
            "[[phase]]\nphase='deployment'\nenergy_kwh=1\nzone='US-CA'\nkind='direct'\n"
        )


def test_an_idle_row_and_a_pue_raise_a_question() -> None:
    cycle = account(
        "[scenario]\nfactor_g_per_kwh=57\n"
        "[[phase]]\nphase='training'\nenergy_kwh=433196\npue=1.2\n"
        "[[phase]]\nphase='idle'\nenergy_kwh=256646\n"
    )
    assert any("not the same energy" in note for note in cycle.notes)


def test_the_same_grid_errs_the_same_way_in_every_row() -> None:
    one = account("[[phase]]\nphase='training'\nzone='FR'\nenergy_kwh=100\n")
    two = account(
        "[[phase]]\nphase='training'\nzone='FR'\nenergy_kwh=40\n"
        "[[phase]]\nphase='training'\nname='more'\nzone='FR'\nenergy_kwh=60\n"
    )
    assert (two.low_kg, two.high_kg) == (pytest.approx(one.low_kg), pytest.approx(one.high_kg))


energies = st.lists(
    st.tuples(
        st.sampled_from(["development", "training", "deployment", "idle", "infrastructure"]),
        st.floats(0, 1e9),
    ),
    min_size=1,
    max_size=8,
)


@given(energies)
def test_rows_phases_and_qualities_each_add_up(parts) -> None:
    table = {
        "scenario": {"zone": "DE"},
        "phase": [{"phase": phase, "energy_kwh": kwh} for phase, kwh in parts],
    }
    cycle = life_cycle_from(table, "x")
    total = math.fsum(kwh for _, kwh in parts) * 342.06 / 1000
    assert cycle.kg_co2e == pytest.approx(total, rel=1e-12, abs=1e-12)
    for shares in (cycle.by_phase, cycle.by_quality):
        assert math.fsum(shares.values()) == pytest.approx(total, rel=1e-12, abs=1e-12)
    assert cycle.low_kg <= cycle.kg_co2e <= cycle.high_kg


PHASE = "[[phase]]\nphase='training'\nzone='FR'\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no .*phase"),
        ("[[phase]]\nenergy_kwh=1\nzone='FR'\n", "phase is missing"),
        ("[[phase]]\nphase='embodied'\n", r"written as \[\[embodied\]\]"),
        ("[[phase]]\nphase='trianing'\nenergy_kwh=1\n", "unknown phase 'trianing'"),
        (PHASE, "give one of recording"),
        (PHASE + "energy_kwh=1\ngpu_hours=1\n", "give one of recording"),
        (PHASE + "gpu_hours=1\n", "gpu_watts is missing"),
        (PHASE + "wh_per_request=1\n", "requests, or requests_per_day"),
        (PHASE + "energy_kwh=1\nlow_kwh=2\n", "does not hold"),
        (PHASE + "energy_kwh=1\nquality='great'\n", "quality must be one of"),
        (PHASE + "energy_kwh=1\nenergy=1\n", "unknown key 'energy'"),
        (PHASE + "recording='x.pyprof'\n", "can't be opened here"),
        ("[[phase]]\nphase='training'\nenergy_kwh=1\n", "no place is set: write zone"),
        ("[[phase]]\nphase='training'\nenergy_kwh=1\nzone='Atlantis'\n", "unknown zone"),
        ("phase = 3", r"written as \[\[phase\]\]"),
        ("phase = [3]", "must be a table"),
        ("surprise = 1\n" + PHASE + "energy_kwh=1\n", "unknown key 'surprise'"),
    ],
)
def test_a_bad_file_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises((UsageError, UnknownZoneError), match=sentence) as caught:
        account(text)
    assert "\n" not in str(caught.value)
