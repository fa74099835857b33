from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from report_double import make_channel, make_report

from pyprof.carbon import Scenario, account
from pyprof.carbon.component import own_component
from pyprof.carbon.embodied import Holding
from pyprof.carbon.lifecycle_file import life_cycle
from pyprof.carbon.table import data_path
from pyprof.errors import UsageError
from pyprof.export.manifests import FORMATS, render_manifest
from pyprof.export.sci import sci, sci_for_ai
from pyprof.export.subject import Subject
from pyprof.export.yaml_scalar import scalar

SERVER = Holding(own_component("server", 2000), hours=8760, share=0.5, lifetime_years=4,
                 utilisation=1.0, clock="reserved")  # fmt: skip


def subject(**choices) -> Subject:
    scenario = Scenario(
        **{
            "zone": "FR",
            "pue": 1.2,
            "functional_unit": "request",
            "functional_units": 1000,
            "embodied": (SERVER,),
            **choices,
        }
    )
    channels = [
        make_channel("gpu0", 3.6e6, tolerance=0.05),
        make_channel("package-0", 1.8e6, domain="package", tolerance=0.05),
    ]
    report = make_report([("", "training", 1.8e6), ("serve", "deployment", 3.6e6)], channels)
    total = replace(report.total, by_domain={"gpu": 3.6e6, "package": 1.8e6})
    run = replace(
        report.run,
        id="run-1",
        command="train.py",
        duration_s=100.0,
        start_utc="2026-01-01T10:00:00.000000Z",
    )
    stages = tuple(replace(row, channels={"gpu0": 1.8e6}) for row in report.stage_rows)
    report = replace(report, total=total, run=run, stage_rows=stages)
    return Subject(account(report, scenario), report)


def test_the_sci_is_o_plus_m_per_r() -> None:
    score = sci(subject())
    operational = 1.5 * 1.2 * 44.18
    made = 1000 * 2000 * (8760 / (4 * 8760)) * 0.5
    assert score["O_g"] == pytest.approx(operational)
    assert score["M_g"] == pytest.approx(made)
    assert score["sci_g_per_unit"] == pytest.approx((operational + made) / 1000)
    assert score["E_kwh"] == pytest.approx(1.8)
    assert score["R"] == {"functional_unit": "request", "count": 1000}
    (term,) = score["embodied"]
    assert term["M_kg"] == pytest.approx(
        term["TE_kg"] * term["TiR_hours"] / term["EL_hours"] * term["RR_over_ToR"]
    )


def test_contracts_do_not_lower_the_sci() -> None:
    assert sci(subject(market_g_per_kwh=0))["sci_g_per_unit"] == sci(subject())["sci_g_per_unit"]


def test_what_is_not_in_the_sci_is_said() -> None:
    score = sci(subject(pue=None, embodied=()))
    assert score["M_g"] is None
    assert any("PUE" in line for line in score["exclusions"])
    assert any("manufacturing" in line for line in score["exclusions"])


def test_a_rate_is_never_zero_and_needs_its_unit() -> None:
    with pytest.raises(UsageError, match="never zero"):
        sci(subject(factor_g_per_kwh=0.0, embodied=()))
    with pytest.raises(UsageError, match="functional unit"):
        sci(subject(functional_unit=None))


def test_the_scores_of_maker_and_user_stay_apart() -> None:
    maker = sci_for_ai(life_cycle(data_path("bloom.toml")))
    assert maker["consumer"] is None
    assert maker["provider"]["g"] == pytest.approx(50.53e6, rel=1e-3)
    user = sci_for_ai(life_cycle(data_path("bloom_api.toml")))
    assert user["provider"]["g"] is None
    assert user["consumer"]["g_per_unit"] == pytest.approx(1.4756, rel=1e-3)


def ghg(document: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(r["scope"], r["method"]): r for r in csv.DictReader(io.StringIO(document))}


def test_ghg_columns_of_a_life_cycle_factor_are_not_scope_2_alone() -> None:
    rows = ghg(render_manifest("ghg", subject(market_g_per_kwh=10, loss_fraction=0.05)))
    assert rows[("2", "location-based")]["kg_co2e"] == ""
    assert float(rows[("2 + 3", "location-based")]["kg_co2e"]) == pytest.approx(0.079524)
    assert float(rows[("2", "market-based")]["kg_co2e"]) == pytest.approx(0.018)
    assert float(rows[("3", "share by hours held")]["kg_co2e"]) == pytest.approx(250)
    assert float(rows[("3", "location-based")]["kg_co2e"]) == pytest.approx(0.079524 * 5 / 95)


def test_ghg_columns_of_a_direct_factor_are_scope_2() -> None:
    rows = ghg(render_manifest("ghg", subject(zone="US-CA", kind="direct")))
    assert float(rows[("2", "location-based")]["kg_co2e"]) == pytest.approx(1.8 * 0.17906)
    assert rows[("2", "market-based")]["kg_co2e"] == ""


def test_a_model_card_is_in_grams() -> None:
    text = render_manifest("model-card", replace(subject(), task="fine-tuning"))
    emissions = next(
        line for line in text.splitlines() if "emissions:" in line and "co2" not in line
    )
    assert float(emissions.split(":")[1]) == pytest.approx(79.524)
    assert '  training_type: "fine-tuning"' in text
    assert '  geographical_location: "France (FR)"' in text
    assert "manufacturing is not in it" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-7, "1.0e-07"), (1.5e-7, "1.5e-07"), (3.0, "3.0"), (None, "null"), ("a: b", '"a: b"')],
)
def test_small_numbers_stay_numbers_in_every_yaml(value, text: str) -> None:
    assert scalar(value) == text


def test_a_name_can_not_break_out_of_a_model_card() -> None:
    hostile = 'x"\nco2_eq_emissions: 0 #'
    text = render_manifest("model-card", replace(subject(), hardware=hostile))
    assert "\nco2_eq_emissions: 0" not in text


def test_a_codecarbon_row_has_its_columns_in_order() -> None:
    header, row = csv.reader(io.StringIO(render_manifest("codecarbon", subject())))
    assert len(header) == 38
    assert header[:8] == ["timestamp", "project_name", "run_id", "experiment_id", "duration",
                          "emissions", "emissions_rate", "cpu_power"]  # fmt: skip
    cells = dict(zip(header, row, strict=True))
    assert float(cells["emissions"]) == pytest.approx(0.079524)
    assert float(cells["energy_consumed"]) == pytest.approx(1.5)
    assert (float(cells["gpu_energy"]), float(cells["cpu_energy"])) == (1.0, 0.5)
    assert float(cells["gpu_power"]) == pytest.approx(36000)
    assert cells["ram_energy"] == ""
    assert cells["pue"] == "1.2"
    assert cells["on_cloud"] == "N"


def test_a_name_is_no_spreadsheet_formula() -> None:
    text = render_manifest("codecarbon", replace(subject(), name="=1+1"))
    assert "'=1+1" in text


def test_boamps_has_what_its_schema_requires() -> None:
    report = json.loads(render_manifest("boamps", subject(zone="aws:eu-west-3")))
    assert {"task", "measures", "infrastructure"} <= set(report)
    assert {"taskStage", "taskFamily", "algorithms", "dataset"} <= set(report["task"])
    assert report["task"]["taskStage"] == "training+inference"
    assert report["task"]["nbRequest"] == 1000
    (measure,) = report["measures"]
    assert measure["powerConsumption"] == pytest.approx(1.5)
    assert report["infrastructure"]["infraType"] == "publicCloud"
    assert {c["componentType"] for c in report["infrastructure"]["components"]} == {"gpu", "cpu"}
    assert report["environment"]["country"] == "France"
    assert report["quality"] == "medium"


#: The fields of the published schemas of BoAmps, and the words that some of them allow.
BOAMPS = {
    "": "header task measures system software infrastructure environment quality $hash",
    "header": "licensing formatVersion formatVersionSpecificationUri reportId reportDatetime "
    "reportStatus publisher",
    "publisher": "name division projectName confidentialityLevel publicKey",
    "task": "taskStage taskFamily nbRequest algorithms dataset measuredAccuracy estimatedAccuracy "
    "taskDescription",
    "algorithms": "trainingType algorithmType algorithmName algorithmUri foundationModelName "
    "foundationModelUri parametersNumber framework frameworkVersion classPath layersNumber "
    "epochsNumber optimizer quantization",
    "dataset": "dataUsage dataType dataFormat dataSize dataQuantity shape source sourceUri owner",
    "measures": "measurementMethod manufacturer version cpuTrackingMode gpuTrackingMode "
    "averageUtilizationCpu averageUtilizationGpu powerCalibrationMeasurement "
    "durationCalibrationMeasurement powerConsumption measurementDuration measurementDateTime",
    "system": "os distribution distributionVersion",
    "software": "language version",
    "infrastructure": "infraType cloudProvider cloudInstance cloudService components",
    "components": "componentName componentType nbComponent memorySize manufacturer family series "
    "share",
    "environment": "country latitude longitude location powerSupplierType powerSource "
    "powerSourceCarbonIntensity",
}
BOAMPS_WORDS = {
    "reportStatus": {"draft", "final", "corrective", "other"},
    "confidentialityLevel": {"public", "internal", "confidential", "secret"},
    "infraType": {"publicCloud", "privateCloud", "onPremise", "other"},
    "dataUsage": {"input", "output"},
    "dataType": {"tabular", "audio", "boolean", "image", "video", "object", "text", "token",
                 "word", "other"},
    "quality": {"high", "medium", "low"},
}  # fmt: skip
BOAMPS_REQUIRED = {
    "": {"task", "measures", "infrastructure"},
    "header": {"reportDatetime"},
    "publisher": {"confidentialityLevel"},
    "task": {"taskStage", "taskFamily", "algorithms", "dataset"},
    "dataset": {"dataUsage", "dataType"},
    "system": {"os"},
    "software": {"language"},
    "infrastructure": {"infraType", "components"},
    "components": {"componentType", "nbComponent"},
    "environment": {"country"},
}
BOAMPS_TYPES = {
    "nbComponent": int, "powerConsumption": float, "measurementDuration": float,
    "nbRequest": (int, float), "powerSourceCarbonIntensity": float,
}  # fmt: skip


def check_boamps(value, name: str = "") -> None:
    """Every field is one of the published schemas, of its type and among its words."""
    if isinstance(value, list):
        assert value, name
        for each in value:
            check_boamps(each, name)
        return
    if not isinstance(value, dict):
        assert value is not None
        assert value in BOAMPS_WORDS.get(name, {value}), name
        assert isinstance(value, BOAMPS_TYPES.get(name, str)), name
        return
    assert set(value) <= set(BOAMPS[name].split()), name
    assert BOAMPS_REQUIRED.get(name, set()) <= set(value), name
    for key, each in value.items():
        check_boamps(each, key)


@pytest.mark.parametrize("zone", ["FR", "gcp:us-central1", "US-CA"])
@pytest.mark.parametrize("has_report", [True, False])
def test_a_boamps_report_keeps_to_the_published_schemas(zone: str, has_report: bool) -> None:
    about = subject(zone=zone)
    about = about if has_report else replace(about, report=None)
    report = json.loads(render_manifest("boamps", about))
    check_boamps(report)
    provider = report["infrastructure"].get("cloudProvider")
    assert provider == ("google" if zone.startswith("gcp") else None)


def test_the_impact_framework_takes_no_time_below_a_second() -> None:
    about = subject()
    assert about.report is not None
    lines = render_manifest("impact-framework", about).splitlines()
    durations = [float(line.split(":")[1]) for line in lines if "duration" in line]
    assert durations == [100.0] * 2
    short = replace(about, report=replace(about.report, run=replace(about.report.run,
                                                                   duration_s=0.5)))  # fmt: skip
    with pytest.raises(UsageError, match="shorter than a second"):
        render_manifest("impact-framework", short)


@pytest.mark.parametrize(
    ("zone", "name", "code", "region", "cloud"),
    [
        ("FR", "France", "FRA", "", ""),
        ("US-CA", "United States", "USA", "california", ""),
        ("gcp:us-central1", "United States", "USA", "", "us-central1"),
        ("azure:canadaeast", "Canada", "CAN", "quebec", "canadaeast"),
        ("aws:eu-west-3", "France", "FRA", "", "eu-west-3"),
        ("WORLD", "World average", "", "", ""),
    ],
)
def test_a_codecarbon_row_names_places_as_codecarbon_does(zone, name, code, region, cloud) -> None:
    header, row = csv.reader(io.StringIO(render_manifest("codecarbon", subject(zone=zone))))
    cells = dict(zip(header, row, strict=True))
    named = (cells["country_name"], cells["country_iso_code"], cells["region"])
    assert named == (name, code, region)
    assert cells["cloud_region"] == cloud


def test_an_impact_framework_manifest_adds_up_to_the_run() -> None:
    text = render_manifest("impact-framework", subject())
    grams = [
        float(line.split(":")[1]) for line in text.splitlines() if "carbon-operational" in line
    ]
    energies = [float(line.split(":")[1]) for line in text.splitlines() if " energy:" in line]
    made = [float(line.split(":")[1]) for line in text.splitlines() if "carbon-embodied" in line]
    assert sum(grams) == pytest.approx(79.524)
    assert sum(energies) == pytest.approx(1.8)
    assert sum(made) == pytest.approx(250_000)
    assert text.count('"request": 1000') == 2


def test_energy_per_thousand_queries_counts_gpus_alone() -> None:
    score = json.loads(render_manifest("ai-energy-score", subject()))
    assert score["wh_per_1000_queries"] == pytest.approx(1000.0)
    assert "not at the wall" in score["boundary"]
    assert score["by_stage"]["serve"] == pytest.approx(500.0)


NEED_A_RECORDING = ("ai-energy-score", "impact-framework")


@pytest.mark.parametrize("name", NEED_A_RECORDING)
def test_what_needs_a_recording_says_so(name: str) -> None:
    with pytest.raises(UsageError, match="needs a recording"):
        render_manifest(name, replace(subject(), report=None))


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NEED_A_RECORDING])
def test_every_document_can_be_written_without_a_recording(name: str) -> None:
    assert render_manifest(name, replace(subject(), report=None))


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="unknown format 'pdf'"):
        render_manifest("pdf", subject())


def test_unknown_energy_makes_no_document() -> None:
    report = make_report([("", "training", None)])
    nothing = Subject(account(report, Scenario(zone="FR")), report)
    with pytest.raises(UsageError, match="unknown"):
        render_manifest("model-card", nothing)
