from __future__ import annotations

import json
import math
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_double import make_channel, make_report

from pyprof.carbon import (
    Scenario,
    account,
    compare,
    footprint,
    keep_scenario,
    kept_scenario,
)
from pyprof.energy import PHASES
from pyprof.errors import UnknownZoneError, UsageError

joules = st.floats(0, 1e12, allow_nan=False)
rows = st.lists(
    st.tuples(
        st.sampled_from(["", "train", "train/forward", "eval"]), st.sampled_from(PHASES), joules
    ),
    min_size=1,
    max_size=12,
)
pues = st.none() | st.floats(1, 3)


def test_the_published_training_run() -> None:
    result = footprint({"training": 433196.0}, Scenario(factor_g_per_kwh=57, pue=1.0))
    assert result.kg_co2e == pytest.approx(24692.172, rel=1e-12)
    assert result.energy_kwh == pytest.approx(433196.0, rel=1e-12)


def test_named_and_bare_mappings_are_both_kilowatt_hours() -> None:
    scenario = Scenario(zone="FR", pue=1.2)
    bare = footprint({"training": 10.0, "deployment": 5.0}, scenario)
    named = footprint(energy_kwh={"training": 10.0, "deployment": 5.0}, scenario=scenario)
    assert bare == named
    assert bare.kg_co2e == pytest.approx(15 * 1.2 * 0.04418)


@given(rows, pues)
def test_stages_and_phases_each_add_up_to_the_total(rows, pue) -> None:
    result = account(make_report(rows), Scenario(zone="FR", pue=pue))
    for parts in (result.by_stage, result.by_phase):
        assert math.fsum(parts.values()) == pytest.approx(result.kg_co2e, rel=1e-12, abs=1e-300)
    assert result.low_kg <= result.kg_co2e <= result.high_kg


@given(rows, st.integers(0, 12))
def test_splitting_a_run_changes_nothing(rows, cut) -> None:
    scenario = Scenario(zone="DE", pue=1.1)
    whole = account(make_report(rows), scenario)
    parts = [part for part in (rows[:cut], rows[cut:]) if part]
    total = math.fsum(account(make_report(part), scenario).kg_co2e for part in parts)
    assert total == pytest.approx(whole.kg_co2e, rel=1e-12, abs=1e-300)


def test_unknown_energy_is_not_zero() -> None:
    result = account(make_report([("", "training", None)], unmeasured=["gpu0"]), Scenario("FR"))
    assert (result.kg_co2e, result.low_kg, result.high_kg) == (None, None, None)
    assert result.by_stage == {"": None}
    assert any("gpu0" in note for note in result.notes)


def test_sensors_of_one_kind_err_together_and_kinds_apart() -> None:
    channels = [
        make_channel("gpu0", 300.0, tolerance=0.05),
        make_channel("gpu1", 300.0, tolerance=0.05),
        make_channel("package-0", 400.0, domain="package", tolerance=0.04),
        make_channel("psys", 900.0, domain="psys", tolerance=0.5, counted=False),
    ]
    report = make_report([("", "training", 1000.0)], channels, low_j=990.0, high_j=1020.0)
    result = account(report, Scenario(factor_g_per_kwh=3.6e9))
    assert result.kg_co2e == pytest.approx(1000.0)
    assert result.low_kg == pytest.approx(1000 - math.hypot(10, 30, 16))
    assert result.high_kg == pytest.approx(1000 + math.hypot(20, 30, 16))
    assert result.dominating is not None
    assert result.dominating.cause == "sensor: gpu"


def test_a_channel_of_unknown_tolerance_is_not_taken_as_exact_in_words() -> None:
    report = make_report([("", "training", 10.0)], [make_channel("gpu0", 10.0)])
    notes = account(report, Scenario(factor_g_per_kwh=100)).notes
    assert any("tolerance" in note and "gpu0" in note for note in notes)


def test_any_real_number_will_do() -> None:
    scenario = Scenario(factor_g_per_kwh=Fraction(57), pue=Fraction(3, 2))
    priced = footprint({"training": Fraction(1000)}, scenario)
    assert json.loads(json.dumps(priced.to_dict()))["kg_co2e"] == 85.5
    for wrong in ("57", True, None, 1j, [], float("nan"), float("inf"), -1, 10**400):
        with pytest.raises(UsageError):
            footprint({"training": wrong}, scenario)


def test_pue_is_applied_once_and_left_out_when_not_given() -> None:
    plain = footprint({"training": 100.0}, Scenario(factor_g_per_kwh=1000))
    with_pue = footprint({"training": 100.0}, Scenario(factor_g_per_kwh=1000, pue=1.5))
    assert (plain.kg_co2e, with_pue.kg_co2e) == (pytest.approx(100), pytest.approx(150))
    assert plain.energy_kwh == with_pue.energy_kwh == pytest.approx(100)
    assert any("not included" in note for note in plain.notes)


def test_a_doubtful_pue_never_means_that_a_facility_saves_energy() -> None:
    tight = footprint({"training": 100.0}, Scenario(factor_g_per_kwh=1000, pue=1.02))
    assert tight.low_kg == pytest.approx(100)
    assert tight.high_kg == pytest.approx(102 * 1.05)
    provider = footprint({"training": 100.0}, Scenario("aws:eu-west-3", pue=1.15))
    (pue,) = (term for term in provider.terms if term.cause == "pue")
    assert pue.above == 0.15


def test_a_comparison_applies_the_overhead() -> None:
    (plain,), (more,) = compare(3.6e6, ["FR"]), compare(3.6e6, ["FR"], pue=1.5)
    assert more.kg_co2e == pytest.approx(1.5 * plain.kg_co2e)


def test_energy_that_includes_the_overhead_is_not_multiplied_again() -> None:
    scenario = Scenario(factor_g_per_kwh=429, pue=1.1, energy_includes_pue=True)
    result = footprint({"training": 1_287_000.0}, scenario)
    assert result.t_co2e == pytest.approx(552.1, rel=1e-3)
    assert result.energy_kwh == pytest.approx(1_170_000)


@pytest.mark.parametrize("where", [{"scope": "wall"}, {"scope": "rack"}, {"source": "meter"}])
def test_a_pue_on_top_of_a_wall_reading_is_refused(where) -> None:
    wall = make_channel("pdu", 10.0, domain="host", **where)
    report = make_report([("", "training", 10.0)], [wall])
    with pytest.raises(UsageError, match=r"pdu.*wall"):
        account(report, Scenario(zone="FR", pue=1.2))
    assert account(report, Scenario(zone="FR")).kg_co2e > 0


def test_without_a_place_there_is_no_footprint() -> None:
    with pytest.raises(UsageError, match=r"no place is set.*PYPROF_ZONE"):
        footprint({"training": 1.0})


def test_reports_per_phase_belong_to_that_phase() -> None:
    report = make_report([("", "training", 3.6e6), ("eval", "training", 3.6e6)])
    scenario = Scenario(factor_g_per_kwh=1000)
    result = footprint({"training": report, "deployment": [report, report]}, scenario)
    assert result.by_phase == {"training": pytest.approx(2.0), "deployment": pytest.approx(4.0)}


@pytest.mark.parametrize(
    ("energy", "sentence"),
    [
        ({"trianing": 1.0}, "unknown phase 'trianing'"),
        ({"training": -1.0}, "at least 0"),
        ({"training": float("nan")}, "finite"),
        ({"training": "12"}, "kWh per phase"),
        ({"training": True}, "must be a number"),
        ({}, "no energy"),
        (433196.0, "kWh per phase"),
    ],
)
def test_energy_that_makes_no_sense_is_refused(energy, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        footprint(energy, Scenario(zone="FR"))


@pytest.mark.parametrize(
    "choices",
    [
        {"pue": 0.9},
        {"pue": float("inf")},
        {"pue": "1.2"},
        {"factor_g_per_kwh": -1},
        {"kind": "marginal"},
        {"zone": 3},
        {"energy_includes_pue": 1},
    ],
)
def test_a_scenario_that_can_not_be_is_refused_when_made(choices) -> None:
    with pytest.raises(UsageError):
        Scenario(**choices)


def test_an_unknown_zone_is_refused_by_compare_too() -> None:
    with pytest.raises(UnknownZoneError):
        compare(1.0, ["FR", "Atlantis"])


def test_france_against_australia() -> None:
    rows = {row.zone: row.kg_co2e for row in compare(3.6e6, ["FR", "AU"])}
    assert rows["AU"] / rows["FR"] == pytest.approx(553.76 / 44.18)


def test_a_comparison_never_ranks_across_kinds() -> None:
    rows = compare(3.6e6, ["FR", "US-CA"], kind="direct")
    assert rows[0].kg_co2e is None
    assert "no direct factor" in rows[0].refused
    assert rows[1].kg_co2e == pytest.approx(0.17906)


def test_the_block_is_json_and_holds_the_contract() -> None:
    result = account(make_report([("", "training", 3.6e6)]), Scenario(zone="US-CA", pue=1.1))
    block = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert {
        "zone",
        "factors",
        "pue",
        "kg_co2e",
        "low_kg",
        "high_kg",
        "by_stage",
        "by_phase",
    } <= set(block)
    assert {"g_per_kwh", "zone", "year", "kind", "basis", "source", "licence"} <= set(
        block["factors"][0]
    )
    assert block["factors"][0]["kind"] == "lifecycle"
    assert block["beside"]["kind"] == "direct"


def test_accounting_needs_no_native_module_and_no_table_until_used() -> None:
    code = (
        "import sys, builtins\n"
        "sys.modules['pyprof._native'] = None\n"
        "import pyprof.carbon\n"
        "assert 'csv' not in sys.modules and 'urllib' not in sys.modules, 'heavy import'\n"
        "from pyprof.carbon import Scenario, footprint\n"
        "print(footprint({'training': 2.0}, Scenario(zone='FR')).kg_co2e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(2 * 0.04418)


WITHOUT_NATIVE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "pyprof._native" or name.partition(".")[0] in ("psutil", "pynvml", "numpy"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refuse())
import socket
socket.socket = socket.create_connection = socket.getaddrinfo = None  # nobody may call
from pyprof.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("carbon --kwh 433196 --factor 57", 0, "24.69 t CO2e"),
        ("carbon --kwh 433196 --zones FR,AU", 0, "12.5 times"),
        ("lifecycle --example bloom", 0, "66 x London-New York return"),
        ("lifecycle --published", 0, "37 of 37 pass"),
        ("factors FR", 0, "44.18"),
        ("carbon run.pyprof --zone FR", 2, "the native part of pyprof is missing"),
    ],
)
def test_every_account_without_a_recording_does_without_the_native_part(
    words: str, status: int, said: str, tmp_path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NATIVE, *words.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert done.stderr.count("\n") == (status != 0)


def test_a_kept_factor_prices_as_before_whatever_the_tables_say(tmp_path) -> None:
    table = tmp_path / "old.csv"
    table.write_text(
        "zone,name,gCO2e_per_kWh,kind,basis,year,source,licence\n"
        "US,United States,400,lifecycle,production,2020,old edition,mine\n"
    )
    report = make_report([("", "training", 3.6e6)])
    then = Scenario(zone="US-CA", pue=1.2, factor_table=str(table))
    kept = kept_scenario(json.loads(json.dumps(keep_scenario(then))))
    table.unlink()
    first, again = account(report, kept), account(report, kept)
    assert first.kg_co2e == again.kg_co2e == pytest.approx(0.48)
    assert first.factors[0].source == "old edition"
    assert first.substituted is not None
    assert first.beside is not None
    assert account(report, Scenario(zone="US-CA", pue=1.2)).kg_co2e == pytest.approx(0.46026)


def test_a_kept_factor_that_is_broken_is_one_sentence() -> None:
    for broken in ({}, {"resolution": {}}, {"resolution": None}):
        with pytest.raises(UsageError, match="kept with the recording"):
            kept_scenario(broken)
