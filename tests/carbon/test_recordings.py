"""Recordings and their carbon: what is kept stays, what is asked is priced anew, hour by hour."""

from __future__ import annotations

import json
import math
import pickle
import shutil
import sqlite3
import subprocess
import sys
import time
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest

import pyprof
from pyprof.carbon import Scenario, footprint, grid
from pyprof.carbon.table import data_path
from pyprof.errors import PyprofError, UsageError
from pyprof.layout import row_crc

DAY_S = 4.0
HIGH_W, LOW_W = 300.0, 100.0
CLEAN_G, DIRTY_G = 50.0, 650.0
SIGNALS = f"""
[[channel]]
id = "gpu0"
kind = "square"
period_s = {DAY_S}
high_w = {HIGH_W}
low_w = {LOW_W}
sensor = {{ period_s = 0.01, quantum_j = 1e-4 }}
"""


@pytest.fixture
def signals(tmp_path: Path) -> str:
    path = tmp_path / "signals.toml"
    path.write_text(SIGNALS, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of four seconds: high power for its first half, low for its second."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "signals.toml").write_text(SIGNALS, encoding="utf-8")
    out = folder / "day.pyprof"
    with pyprof.Profiler(out=out, simulate=str(folder / "signals.toml")) as prof:
        begin = time.monotonic()
        with prof.stage("light"):
            time.sleep(DAY_S / 2)
        with prof.stage("dark", phase="deployment"):
            time.sleep(max(0.0, begin + DAY_S - time.monotonic()))
    return out


def write_grid(path: Path, start_s: float, first_g: float, second_g: float) -> str:
    """An intensity with one step, half a day after ``start_s``."""
    half_s = start_s + DAY_S / 2
    rows = [(start_s - 9, half_s, first_g), (half_s, half_s + 99, second_g)]
    lines = "".join(f"{a:.6f},{b:.6f},{g}\n" for a, b, g in rows)
    path.write_text("start_utc,end_utc,g_per_kwh\n" + lines, encoding="utf-8")
    return str(path)


def start_of(report: pyprof.EnergyReport) -> float:
    text = str(report.run.start_utc).removesuffix("Z")
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def change_grid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Another edition of the shipped tables, in which the grid of France is ten times dirtier."""
    data = folder / "edition"
    shutil.copytree(Path(data_path("grid_factors.csv")).parent, data)
    table = data / "grid_factors.csv"
    changed = table.read_text(encoding="utf-8").replace("44.18", "441.8")
    assert changed != table.read_text(encoding="utf-8")
    table.write_text(changed, encoding="utf-8")
    monkeypatch.setattr(grid, "data_path", lambda name: str(data / name))
    grid._load_grid.cache_clear()


@pytest.fixture
def fresh_tables():
    """Tables read under another name are forgotten when the test ends."""
    yield
    grid._load_grid.cache_clear()


def kg_of(path: Path, *words: str) -> dict[str, object]:
    """The footprint that ``pyprof report`` prints."""
    from pyprof.cli import main

    out = path.with_suffix(".json")
    assert main(["report", str(path), "--json", str(out), "-f", *words]) == 0
    block: dict[str, object] = json.loads(out.read_text())["footprint"]
    return block


@pytest.mark.usefixtures("fresh_tables")
def test_an_old_report_never_changes_by_itself(
    signals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run.pyprof"
    with pyprof.Profiler(out=out, zone="FR", pue=1.2, simulate=signals) as prof:
        time.sleep(0.3)
    then, first = prof.report(), kg_of(out)
    monkeypatch.setenv("PYPROF_ZONE", "DE")
    change_grid(monkeypatch, tmp_path)
    assert kg_of(out) == first
    assert pyprof.load(out).report().footprint == then.footprint
    assert prof.report().footprint == then.footprint
    anew = kg_of(out, "--zone", "FR")
    assert anew["kg_co2e"] == pytest.approx(10 * first["kg_co2e"])
    assert kg_of(out, "--zone", "SE")["zone"] == "SE"


@pytest.mark.usefixtures("fresh_tables")
def test_a_run_keeps_its_factor(
    signals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = [sys.executable, "-m", "pyprof", "run", "-q", "-o", "run.pyprof", "--simulate", signals]
    words = ["--zone", "FR", "--json", "run.json", "--", sys.executable, "-c", "pass"]
    subprocess.run([*run, *words], check=True, timeout=60)
    printed = json.loads(Path("run.json").read_text())["footprint"]
    change_grid(monkeypatch, tmp_path)
    again = kg_of(tmp_path / "run.pyprof")
    assert {**again, "scenario": None} == {**printed, "scenario": None}
    assert printed["factors"][0]["g_per_kwh"] == 44.18


def test_a_flag_overrides_what_is_kept_one_by_one(
    signals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run.pyprof"
    with pyprof.Profiler(out=out, zone="US-CA", pue=1.2, simulate=signals) as prof:
        time.sleep(0.2)
    assert prof.report().footprint.pue == 1.2
    recording = pyprof.load(out)
    assert (recording.report(pue=1.5).footprint.zone, kg_of(out)["zone"]) == ("US-CA", "US-CA")
    assert recording.report(pue=1.5).footprint.pue == 1.5
    assert recording.report(zone="DE").footprint.zone == "DE"
    assert kg_of(out)["factors"][0]["kind"] == "lifecycle"
    assert kg_of(out, "--kind", "direct")["factors"][0]["kind"] == "direct"
    assert recording.report(scenario=Scenario()).footprint is None


def test_carbon_takes_what_is_kept_too(signals: str, tmp_path: Path, capsys, monkeypatch) -> None:
    from pyprof.cli import main

    monkeypatch.chdir(tmp_path)
    with pyprof.Profiler(out="run.pyprof", zone="FR", simulate=signals):
        time.sleep(0.2)
    assert main(["carbon", "run.pyprof", "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["footprint"]
    assert (kept["zone"], kept["kg_co2e"]) == (
        "FR",
        pyprof.load("run.pyprof").report().footprint.kg_co2e,
    )
    assert main(["carbon", "run.pyprof", "--zone", "PL", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["footprint"]["zone"] == "PL"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"resolution": {}}', '{"zone": 5}', "[" * 99999])
def test_a_broken_kept_factor_is_one_sentence(signals: str, tmp_path: Path, text: str) -> None:
    out = record_france(tmp_path, signals)
    rewrite_kept(out, text, row_crc(("scenario", text)))
    with pytest.raises(PyprofError, match="kept with the recording"):
        pyprof.load(out).report()
    assert pyprof.load(out).report(zone="FR").footprint is not None


def test_a_damaged_kept_factor_is_named_and_prices_nothing(signals: str, tmp_path: Path) -> None:
    out = record_france(tmp_path, signals)
    rewrite_kept(out, '{"zone": "PL"}', 1)
    report = pyprof.load(out).report()
    assert report.footprint is None
    assert any("damaged rows of the table meta" in event.text for event in report.events)


def record_france(folder: Path, signals: str) -> Path:
    out = folder / "run.pyprof"
    with pyprof.Profiler(out=out, zone="FR", simulate=signals):
        time.sleep(0.2)
    return out


def rewrite_kept(path: Path, text: str, crc: int) -> None:
    with sqlite3.connect(path) as connection:
        change = "UPDATE meta SET value=?, crc=? WHERE key='scenario'"
        connection.execute(change, (text, crc))
    connection.close()


def test_the_anti_phase_day_misses_mean_times_mean_by_the_analytic_amount(
    day: Path, tmp_path: Path
) -> None:
    recording = pyprof.load(day)
    plain = recording.report()
    start_s = start_of(plain)
    clean_first = write_grid(tmp_path / "a.csv", start_s, CLEAN_G, DIRTY_G)
    dirty_first = write_grid(tmp_path / "b.csv", start_s, DIRTY_G, CLEAN_G)
    by_the_hour = recording.report(scenario=Scenario(intensity=clean_first)).footprint
    against = recording.report(scenario=Scenario(intensity=dirty_first)).footprint
    # A busy machine begins late and sleeps long: what each half took is asked, not assumed.
    half_ns = plain.run.start_mono_ns + round(DAY_S / 2 * 1e9)
    first = recording.energy(end_ns=half_ns).total.energy_kwh
    second = plain.total.energy_kwh - first
    mean = (first + second) * (CLEAN_G + DIRTY_G) / 2 / 1e3
    apart = (first - second) * (DIRTY_G - CLEAN_G) / 2 / 1e3
    assert first > 2 * second
    assert by_the_hour.kg_co2e == pytest.approx(mean - apart, rel=1e-3)
    assert against.kg_co2e == pytest.approx(mean + apart, rel=1e-3)
    both = by_the_hour.kg_co2e + against.kg_co2e
    known = plain.total.energy_kwh * (CLEAN_G + DIRTY_G) / 1e3
    assert both == pytest.approx(known, rel=1e-6)
    for priced in (by_the_hour, against):
        assert math.fsum(priced.by_stage.values()) == pytest.approx(priced.kg_co2e)
        assert math.fsum(priced.by_phase.values()) == pytest.approx(priced.kg_co2e)
    assert by_the_hour.by_stage["light"] < by_the_hour.by_stage["dark"]
    assert against.by_stage["light"] > 20 * against.by_stage["dark"]


def test_energy_over_time_adds_up_to_the_report(day: Path) -> None:
    recording = pyprof.load(day)
    report = recording.report()
    bins = recording.power_series()
    assert bins == report.power_series()
    assert bins[0][0] == pytest.approx(start_of(report), abs=1e-5)
    assert bins[-1][1] - bins[0][0] == pytest.approx(report.run.duration_s, abs=1e-5)
    assert math.fsum(each[2] for each in bins) == pytest.approx(report.energy_j, rel=1e-6)
    for row in report.stage_rows:
        own = math.fsum(each[2] for each in report.power_series(row.path, row.phase))
        assert own == pytest.approx(row.self_energy_j, rel=1e-6, abs=1e-6)


def test_energy_over_time_adds_up_wherever_it_is_cut(day: Path) -> None:
    """Cuts within an update of the sensor, at marks, before and after the run."""
    report = pyprof.load(day).report()
    start_s = start_of(report)
    edges = [start_s - 5, start_s + DAY_S / 2, start_s + 99]
    edges += [start_s + 0.0037 * i + 0.001 * (i % 7) for i in range(900)]
    bins = report.power_series(edges_s=edges)
    assert len(bins) > 900
    assert all(before[1] == after[0] for before, after in pairwise(bins))
    assert all(each[2] >= -1e-9 for each in bins)
    assert math.fsum(each[2] for each in bins) == pytest.approx(report.energy_j, rel=1e-9)
    for row in report.stage_rows:
        own = math.fsum(each[2] for each in report.power_series(row.path, row.phase, edges))
        assert own == pytest.approx(row.self_energy_j, rel=1e-9, abs=1e-9)


def test_recordings_per_phase_are_priced_over_time(day: Path, tmp_path: Path) -> None:
    recording = pyprof.load(day)
    grid_csv = write_grid(tmp_path / "a.csv", start_of(recording.report()), CLEAN_G, DIRTY_G)
    whole = footprint(recording, Scenario(intensity=grid_csv))
    given = footprint({"development": recording}, Scenario(intensity=grid_csv))
    twice = footprint({"deployment": [recording, recording]}, Scenario(intensity=grid_csv))
    assert given.by_phase == {"development": pytest.approx(whole.kg_co2e)}
    assert twice.kg_co2e == pytest.approx(2 * whole.kg_co2e)
    with pytest.raises(UsageError, match="energy over time"):
        footprint({"training": recording, "deployment": 3.0}, Scenario(intensity=grid_csv))


def test_a_report_sent_elsewhere_keeps_its_values_and_not_its_readings(day: Path) -> None:
    report = pyprof.load(day).report(zone="FR")
    other = pickle.loads(pickle.dumps(report))
    assert other == report
    assert other.stages["light"] == report.stages["light"]
    with pytest.raises(UsageError, match="no longer knows when"):
        other.power_series()


def test_what_was_kept_prices_a_life_cycle_only_where_nothing_else_does(
    signals: str, tmp_path: Path
) -> None:
    out = tmp_path / "run.pyprof"
    with pyprof.Profiler(out=out, zone="FR", simulate=signals):
        time.sleep(0.2)
    report = pyprof.load(out).report()
    assert footprint(report, Scenario(zone="PL")).kg_co2e > 10 * report.footprint.kg_co2e
