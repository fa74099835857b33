from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from report_double import make_channel, make_report

from pyprof.carbon.cases import published_cases_path
from pyprof.carbon.table import data_path
from pyprof.carbon.windows import Windows
from pyprof.cli.command import Parser
from pyprof.errors import NotComparableError, UnknownZoneError, UsageError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYPROF_ZONE", raising=False)


@pytest.fixture
def pyprof(capsys):
    def run(*words: str) -> tuple[int, str]:
        module = import_module(f"pyprof.cli.{words[0]}")
        parser = Parser(prog=f"pyprof {words[0]}")
        module.add_arguments(parser)
        status = module.run(parser.parse_args(list(words[1:])))
        return status, capsys.readouterr().out

    return run


def test_twenty_five_tonnes(pyprof) -> None:
    status, out = pyprof("carbon", "--kwh", "433196", "--factor", "57")
    assert status == 0
    assert "24.69 t CO2e" in out


def test_fifty_tonnes_and_about_sixty_flights(pyprof) -> None:
    status, out = pyprof("lifecycle", "--example", "bloom")
    assert status == 0
    assert "total       51 t CO2e" in out
    assert "66 x London-New York return, economy, CO2e only" in out
    assert "about 60 flights" in out
    assert "end of life of the hardware" in out


def test_nineteen_kilograms_a_day(pyprof) -> None:
    _, out = pyprof("carbon", "--kwh", "864.249", "--factor", "394", "--days", "18")
    assert "per day     18.92 kg CO2e" in out
    _, out = pyprof("lifecycle", "--example", "bloom-api")
    assert "use a day   18.92 kg CO2e" in out


def test_fifty_four_miles(pyprof) -> None:
    _, out = pyprof("carbon", "--kg", "18.92", "--equivalents", "car_mile_us_new_2020")
    assert "54 x average new US vehicle" in out


def test_france_against_australia(pyprof) -> None:
    _, out = pyprof("carbon", "--kwh", "433196", "--zones", "FR,AU")
    assert "AU emits 12.5 times what FR does" in out


def test_several_zones_as_json(pyprof) -> None:
    _, out = pyprof("carbon", "--kwh", "1000", "--zones", "FR,DE,CN,AU,US-CA", "--json")
    rows = json.loads(out)["zones"]
    assert [row["zone"] for row in rows] == ["FR", "DE", "CN", "AU", "US-CA"]
    assert {row["factor"]["kind"] for row in rows} == {"lifecycle"}
    assert rows[-1]["substituted"]
    assert rows[-1]["beside"]["kind"] == "direct"


def test_published_cases_as_json(pyprof) -> None:
    status, out = pyprof("lifecycle", published_cases_path(), "--json")
    rows = json.loads(out)
    assert status == 0
    assert len(rows) == 37
    assert all({"id", "quantity", "expected", "computed", "pass"} <= set(row) for row in rows)
    assert all(row["pass"] is True for row in rows)


def test_a_failing_case_is_a_finding(pyprof, tmp_path) -> None:
    text = Path(published_cases_path()).read_text().replace("expected = 24.69", "expected = 30", 1)
    path = tmp_path / "cases.toml"
    path.write_text(text)
    status, out = pyprof("lifecycle", str(path), "--json")
    assert status == 1
    assert sum(not row["pass"] for row in json.loads(out)) == 1
    status, out = pyprof("lifecycle", str(path))
    assert status == 1
    assert "FAIL" in out
    assert "36 of 37 pass" in out


def test_a_life_cycle_as_json(pyprof) -> None:
    _, out = pyprof("lifecycle", data_path("bloom.toml"), "--json")
    account = json.loads(out)
    assert account["kg_co2e"] == pytest.approx(50_532, rel=1e-4)
    assert account["equivalents"][0]["count"] == 66
    assert json.loads(pyprof("lifecycle", data_path("bloom.toml"), "--sci")[1])["consumer"] is None


def test_flags_win_over_file_environment_and_project(pyprof, monkeypatch, tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.pyprof]\nzone = 'DE'\npue = 1.5\ninterval = '10ms'\n"
    )
    (tmp_path / "scenario.toml").write_text("zone = 'GB'\n")

    def priced(*words: str) -> tuple[str, float]:
        block = json.loads(pyprof("carbon", "--kwh", "1", "--json", *words)[1])["footprint"]
        return block["zone"], block["pue"]

    assert priced() == ("DE", 1.5)
    monkeypatch.setenv("PYPROF_ZONE", "SE")
    assert priced() == ("SE", 1.5)
    assert priced("--scenario", "scenario.toml") == ("GB", 1.5)
    assert priced("--zone", "FR", "--pue", "1.1") == ("FR", 1.1)


def test_a_zone_by_hand_takes_the_projects_factor_away(pyprof, tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pyprof]\nfactor_g_per_kwh = 1000\n")

    def factor(*words: str) -> float:
        block = json.loads(pyprof("carbon", "--kwh", "1", "--json", *words)[1])["footprint"]
        return block["factors"][0]["g_per_kwh"]

    assert factor() == 1000
    assert factor("--zone", "FR") == 44.18
    assert factor("--factor", "7") == 7


def test_without_a_place_it_says_how_to_set_one(pyprof) -> None:
    with pytest.raises(UsageError, match="no place is set"):
        pyprof("carbon", "--kwh", "1")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "give one of"),
        (("--kwh", "1", "--kg", "1"), "give one of"),
        (("--kwh", "lots", "--zone", "FR"), "takes kWh"),
        (("--kwh", "1", "--kwh", "2", "--zone", "FR"), "twice"),
        (("--kwh", "1", "--zone", "FR", "--days", "0"), "--days"),
        (("--kwh", "1", "--zone", "FR", "--format", "pdf"), "unknown format"),
        (("--kwh", "1", "--zone", "FR", "--cleanest"), "hours need a recording"),
        (("--kwh", "1", "--zone", "FR", "--provider", "uk"), "hours need a recording"),
        (
            (
                "--kg",
                "-1",
            ),
            "at least 0",
        ),
        (("--kwh", "1", "--zone", "FR", "--equivalents", "elephants"), "unknown equivalence"),
    ],
)
def test_words_that_make_no_sense(pyprof, words, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        pyprof("carbon", *words)


class Recorded:
    """Stands for a recording of 1 kW over two hours, from 05:00 to 07:00 on the first of 1970."""

    end_ns = 7200 * 10**9

    kept = kept_if_sound = None

    def energy(self):
        report = make_report([("", "training", self.end_ns * 1e-6)])
        run = replace(
            report.run,
            command="t.py",
            start_utc="1970-01-01T05:00:00.000000Z",
            start_mono_ns=0,
            end_mono_ns=self.end_ns,
        )
        timed = Windows(run, 1, lambda times: [("", "training", [t * 1e-6 for t in times])])
        return replace(report, run=run, timed=timed)


@pytest.fixture
def recording(monkeypatch, tmp_path) -> str:
    monkeypatch.setattr("pyprof.cli.options.open_recording", lambda path: Recorded())
    lines = [f"{h * 3600},{g}" for h, g in enumerate([300, 200, 100, 100, 200, 300, 400, 400])]
    (tmp_path / "grid.csv").write_text("start_utc,g_per_kwh\n" + "\n".join(lines) + "\n")
    return "run.pyprof"


def test_a_recording_is_priced_hour_by_hour(pyprof, recording) -> None:
    _, out = pyprof("carbon", recording, "--intensity", "grid.csv", "--json")
    block = json.loads(out)["footprint"]
    assert block["kg_co2e"] == pytest.approx(0.7)
    assert block["factors"][0]["basis"] == "over time"


def test_when_it_would_have_been_cleanest(pyprof, recording) -> None:
    _, out = pyprof("carbon", recording, "--intensity", "grid.csv", "--cleanest", "--pue", "1.5")
    assert "cleanest    300.0 g CO2e if begun 1970-01-01T02:00Z" in out
    assert "dirtiest    1.200 kg CO2e if begun 1970-01-01T06:00Z" in out


def test_a_recording_is_priced_as_if_it_had_been_at_another_hour(pyprof, recording) -> None:
    for start, kg in (("1970-01-01T02:00Z", 0.2), ("1970-01-01T06:00Z", 0.8), ("1800", 0.4)):
        words = ("--intensity", "grid.csv", "--at", start, "--json")
        block = json.loads(pyprof("carbon", recording, *words)[1])["footprint"]
        assert block["kg_co2e"] == pytest.approx(kg)
    with pytest.raises(UsageError, match="--at needs --intensity or --provider"):
        pyprof("carbon", recording, "--zone", "FR", "--at", "1970-01-01T02:00Z")
    with pytest.raises(UsageError, match="--at: not a time"):
        pyprof("carbon", recording, "--intensity", "grid.csv", "--at", "noon")
    with pytest.raises(UsageError, match=r"no value for 100\.0% of the energy"):
        pyprof("carbon", recording, "--intensity", "grid.csv", "--at", "2026-01-01T00:00Z")


def test_the_cleanest_hour_needs_hours(pyprof, recording) -> None:
    with pytest.raises(UsageError, match="--cleanest needs --intensity or --provider"):
        pyprof("carbon", recording, "--zone", "FR", "--cleanest")


def test_a_recording_in_several_zones_needs_no_place_of_its_own(pyprof, recording) -> None:
    _, out = pyprof("carbon", recording, "--zones", "FR,AU")
    assert "88.4 g CO2e" in out
    _, out = pyprof("carbon", recording, "--zone", "FR", "--format", "model-card")
    assert "emissions: 88.36" in out


def test_a_zone_is_explained(pyprof) -> None:
    status, out = pyprof("factors", "US-CA")
    assert status == 0
    assert "US-CA has no life-cycle factor of its own" in out
    assert "in no total: 179.06" in out
    assert "licence" in out


def test_zones_are_listed_and_searched(pyprof) -> None:
    _, out = pyprof("factors", "--json")
    assert len(json.loads(out)) >= 358 + 150
    _, out = pyprof("factors", "paris")
    assert "aws:eu-west-3" in out
    assert "azure:francecentral" in out
    with pytest.raises(UnknownZoneError, match="nearest"):
        pyprof("factors", "Frnace")


def test_factors_are_compared_within_one_kind(pyprof) -> None:
    _, out = pyprof("factors", "--compare", "FR,US-CA", "--kind", "direct")
    assert "FR (France) has no direct factor" in out
    assert "179.06" in out


def test_another_edition_is_held_against_the_shipped_one(pyprof, tmp_path) -> None:
    text = Path(data_path("grid_factors.csv")).read_text()
    changed = "\n".join(
        line.replace("44.18", "88.36") if line.startswith("FR,") else line
        for line in text.splitlines()
        if not line.startswith("DE,")
    )
    (tmp_path / "new.csv").write_text(changed)
    status, out = pyprof("factors", "--diff", "new.csv")
    assert status == 1
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("DE lifecycle: dropped")
    assert "+100.0% LARGE" in lines[1]
    assert pyprof("factors", "--diff", data_path("grid_factors.csv")) == (0, "no difference\n")


def test_hardware_and_equivalents_are_listed(pyprof) -> None:
    _, out = pyprof("factors", "--embodied", "h100", "sxm5")
    assert "164 kg" in out
    assert "575.1 kg" in out
    _, out = pyprof("factors", "--embodied", "h100", "sxm5", "--basis", "published footprint")
    assert "164 kg" in out
    assert "575.1 kg" not in out
    _, out = pyprof("factors", "--equivalents")
    assert "implied by a published result" in out


def test_names_can_not_drive_the_terminal(pyprof, tmp_path) -> None:
    (tmp_path / "evil.toml").write_text(
        'name = "\\u001b]52;c;x\\u0007"\n[[phase]]\nphase="training"\nenergy_kwh=1\nzone="FR"\n'
        'name = "\\u001b[2J"\n'
    )
    _, out = pyprof("lifecycle", "evil.toml")
    assert "\x1b" not in out
    assert "\x07" not in out


def test_mixed_kinds_have_their_own_status(pyprof, tmp_path) -> None:
    (tmp_path / "m.toml").write_text(
        "[[phase]]\nphase='training'\nenergy_kwh=1\nzone='FR'\n"
        "[[phase]]\nphase='deployment'\nenergy_kwh=1\nzone='US-CA'\nkind='direct'\n"
    )
    with pytest.raises(NotComparableError) as caught:
        pyprof("lifecycle", "m.toml")
    assert caught.value.exit_status == 3


ANSWERS = (
    ("carbon", "--kwh", "433196", "--zone", "US-CA", "--zones", "FR,AU,gcp:us-central1"),
    ("carbon", "--kg", "18.92", "--days", "2"),
    ("carbon", "--kwh", "development=1", "--kwh", "2", "--zone", "FR", "--embodied",
     "NVIDIA H100 SXM5 80GB=96", "--market", "5", "--market-source", "a very long " * 9),
    ("lifecycle", "--example", "bloom"),
    ("lifecycle", "--example", "bloom-api"),
    ("lifecycle", "--published"),
    ("factors", "US-CA"),
    ("factors", "paris"),
    ("factors", "--compare", "FR,US-CA,AU"),
    ("factors",),
    ("factors", "--embodied"),
    ("factors", "--equivalents"),
)  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_no_line_is_wider_than_the_terminal(pyprof, monkeypatch, words, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    _, out = pyprof(*words)
    assert max(map(len, out.splitlines())) <= width


def test_cases_are_told_apart_on_a_narrow_terminal(pyprof, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = pyprof("lifecycle", "--published")[1].splitlines()
    assert "bloom-api-18-days" in lines
    assert any("embodied_kg_per_server_hour" in line and "0.0559585" in line for line in lines)
    assert any("rows_sum_kwh" in line and line.count("1162976") == 2 for line in lines)


def test_every_choice_that_stands_beside_the_total_has_its_flag(pyprof) -> None:
    beside = (
        "--market 10 --market-source PPA --grid-loss 0.05 --wue 1.8 --water 3 --price 0.2 "
        "--currency EUR --idle-share 0.25 --clock reserved --functional-unit request "
        "--functional-units 1000"
    )
    held = ("--embodied", "NVIDIA H100 SXM5 80GB=96", "--embodied", "NVIDIA A100 PCIe 40GB=4")
    given = ("--kwh", "100", "--factor", "50", "--pue", "1.2", *beside.split(), *held)
    block = json.loads(pyprof("carbon", *given, "--json")[1])["footprint"]
    made = 164 * 96 / (6 * 8760) + 181 * 4 / (6 * 8760)
    expected = {
        "kg_co2e": 6.0, "market_kg": 1.2, "losses_kg": 6 * 0.05 / 0.95, "water_on_site_l": 180,
        "water_off_site_l": 360, "cost": 24, "idle_kg": 1.5, "dynamic_kg": 4.5,
        "embodied_kg": made, "total_kg": 6 + made, "kg_per_unit": (6 + made) / 1000,
    }  # fmt: skip
    assert {name: block[name] for name in expected} == pytest.approx(expected)
    assert [each["clock"] for each in block["embodied"]] == ["reserved"] * 2
    assert block["scenario"]["market_source"] == "PPA"
    text = pyprof("carbon", *given)[1]
    for said in ("1.200 kg CO2e by contract (PPA)", "180 L on site", "360 L off site", "24 EUR",
                 "lost in the grid (scope 3)", "of its manufacturing, not in the total above",
                 "96 h reserved"):  # fmt: skip
        assert said in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--kwh 1 --zone FR --embodied A100", "NAME=HOURS"),
        ("--kwh 1 --zone FR --embodied =5", "NAME=HOURS"),
        ("--kwh 1 --zone FR --embodied Nonesuch=5", "no manufacturing figure"),
        ("--kwh 1 --zone FR --embodied nvidia=-5", "NAME=HOURS"),
        ("--kwh 1 --zone FR --price 3", "currency"),
        ("--kwh 1 --zone FR --grid-loss 1", "loss_fraction"),
        ("--kwh 1 --zone FR --wue -1", "wue_l_per_kwh"),
        ("--kg 1 --zone FR", "with --kg the carbon is given"),
        ("--kg 1 --pue 1.2", "with --kg the carbon is given"),
        ("--kg 1 --zones FR,DE", "with --kg the carbon is given"),
        ("--kwh 1 --zone DE-BY", "nearest: DE"),
    ],
)
def test_what_can_not_be_is_refused(pyprof, words: str, sentence: str) -> None:
    with pytest.raises((UsageError, UnknownZoneError), match=sentence):
        pyprof("carbon", *words.split())


def test_no_comparison_puts_a_pue_on_a_wall_reading(pyprof, monkeypatch) -> None:
    class AtTheWall(Recorded):
        def energy(self):
            wall = make_channel("meter", 7.2e6, domain="host", source="meter")
            return replace(super().energy(), channel_rows=(wall,))

    monkeypatch.setattr("pyprof.cli.options.open_recording", lambda path: AtTheWall())
    assert pyprof("carbon", "run.pyprof", "--zones", "FR,AU")[0] == 0
    with pytest.raises(UsageError, match="read at the wall"):
        pyprof("carbon", "run.pyprof", "--zones", "FR,AU", "--pue", "1.2")


def test_zones_are_compared_in_the_kind_of_the_total(pyprof, recording, tmp_path) -> None:
    lines = [f"{h * 3600},{(h + 2) * 3600},100,direct" for h in range(0, 12, 2)]
    header = "start_utc,end_utc,g_per_kwh,kind\n"
    (tmp_path / "direct.csv").write_text(header + "\n".join(lines) + "\n")
    answer = json.loads(
        pyprof("carbon", recording, "--intensity", "direct.csv", "--zones", "US-CA", "--json")[1]
    )
    assert [row["factor"]["kind"] for row in answer["zones"]] == ["direct"]
    assert any(
        "of the kind direct, not life-cycle" in note for note in answer["footprint"]["notes"]
    )


def test_a_provider_is_asked_in_its_own_words(pyprof, recording, monkeypatch, tmp_path) -> None:
    from provider_server import provider_server

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with provider_server() as (url, moods):
        flags = ("--provider", "uk", "--provider-url", f"{url}/uk", "--kind", "direct", "--json")
        words = (*flags, "--provider-zone", "SW1A", "--zone", "GB")
        block = json.loads(pyprof("carbon", recording, *words)[1])["footprint"]
        assert block["kg_co2e"] == pytest.approx(0.24)
        assert block["zone"] == "SW1A"
        moods.queue.append(uk_gap)
        with pytest.raises(UnknownZoneError, match="has gaps, and for them: unknown zone 'SW1A'"):
            pyprof("carbon", recording, *flags, "--zone", "SW1A", "--provider-zone", "SW1B")


def uk_gap():
    from provider_server import as_json

    row = {"from": "1970-01-01T05:00Z", "to": "1970-01-01T05:30Z", "intensity": {"actual": 100}}
    return as_json({"data": {"data": [row]}})
