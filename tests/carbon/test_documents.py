from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyprof.carbon import Scenario, footprint
from pyprof.carbon.case_inputs import INPUT_NAMES
from pyprof.carbon.cases import check_cases
from pyprof.carbon.lifecycle_file import life_cycle_from
from pyprof.carbon.quantities import QUANTITIES
from pyprof.carbon.scenario import _NUMBERS, _TEXTS
from pyprof.carbon.table import data_path
from pyprof.carbon.toml import parse_toml
from pyprof.export.manifests import FORMATS

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = (ROOT / "docs" / "schemas" / "scenario.md").read_text()
ACCOUNTING = (ROOT / "docs" / "accounting.md").read_text()


def run_tool(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "factors" / words[0]), *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_of_published_cases_is_what_the_code_gives() -> None:
    done = run_tool("published_page.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shipped_tables_are_valid_and_their_doubts_are_listed() -> None:
    done = run_tool("check.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "licence not confirmed at its origin: grid_factors.csv" in done.stdout
    assert "source not re-read: device_power.csv" in done.stdout
    assert run_tool("check.py", "--strict").returncode == 1


def test_a_new_edition_is_held_against_the_old_one(tmp_path) -> None:
    text = Path(data_path("grid_factors.csv")).read_text()
    edition = tmp_path / "edition.csv"
    edition.write_text(text.replace("FR,FRA,France,44.18", "FR,FRA,France,30.00"))
    done = run_tool("check.py", "--edition", str(edition))
    assert done.returncode == 1
    assert "FR lifecycle: 44.18 g/kWh" in done.stdout
    assert "-32.1% LARGE" in done.stdout
    edition.write_text("zone\nFR\n")
    broken = run_tool("check.py", "--edition", str(edition))
    assert broken.returncode == 2
    assert "lacks the column" in broken.stderr


def blocks() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", SCHEMA, re.S)


def test_the_documented_life_cycle_can_be_read() -> None:
    text = blocks()[0].replace('recording = "train.pyprof"', "phase = 'training'\nenergy_kwh = 1")
    cycle = life_cycle_from(parse_toml(text, "doc"), "doc")
    assert cycle.use is not None
    assert set(cycle.by_phase) == {"embodied", "development", "training", "deployment"}


def test_the_documented_case_passes() -> None:
    assert all(each.passes for each in check_cases(parse_toml(blocks()[1], "doc"), "doc"))


def test_every_scenario_key_is_documented() -> None:
    for name in (*_TEXTS, *_NUMBERS, "kind", "intensity", "energy_includes_pue"):
        assert f"`{name}`" in SCHEMA, name


@pytest.mark.parametrize("names", [INPUT_NAMES, tuple(QUANTITIES)], ids=["inputs", "quantities"])
def test_documented_names_are_known(names) -> None:
    tables = SCHEMA.split("**Inputs.**")[1]
    parts = tables.split("| quantity | is |")
    section = parts[0] if names is INPUT_NAMES else parts[1]
    cells = re.findall(r"`([a-z0-9_*]+)`", section)
    for cell in cells:
        if cell.startswith("_") or cell in ("days_divisor", "window_days", "days", "hours"):
            continue
        pattern = re.compile(cell.replace("*", "[a-z]+"))
        assert any(pattern.fullmatch(name) for name in (*names, "energy_includes_pue")), cell


def test_every_format_is_documented() -> None:
    for name in FORMATS:
        assert f"`{name}`" in ACCOUNTING


def test_the_documented_figure_is_the_real_one() -> None:
    result = footprint({"training": 433196.0}, Scenario(factor_g_per_kwh=57, pue=1.0))
    assert f"# {result.kg_co2e:.3f}" in ACCOUNTING


def test_the_documented_keys_of_the_block_are_there() -> None:
    section = ACCOUNTING.split("## JSON")[1].split("`pyprof carbon --json`")[0]
    block = footprint({"training": 1.0}, Scenario(zone="FR")).to_dict()
    for key in re.findall(r"`([a-z_0-9]+)`", section):
        assert key == "footprint" or key in block, key
