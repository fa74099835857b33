"""``pyprof baseline`` and what runs make of it: idle from dynamic, on the machine it is of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command_line import pyprof, report_of

from pyprof.export.json import load_schema

WORK = "import time, pyprof\nwith pyprof.stage('step'): time.sleep(0.4)\ntime.sleep(0.2)"


def signals(folder: Path, name: str, **watts: float) -> Path:
    """Constant signals by id."""
    path = folder / f"{name}.toml"
    path.write_text(
        "".join(
            f'[[channel]]\nid = "{channel}"\nkind = "constant"\nwatts = {power_w}\n'
            "[channel.sensor]\nperiod_s = 0.01\n"
            for channel, power_w in watts.items()
        )
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two baselines of one machine, one of them before and after the work."""
    made = tmp_path_factory.mktemp("baseline")
    cool = signals(made, "cool", gpu0=40.0)
    warm = signals(made, "warm", gpu0=50.0)
    signals(made, "busy", gpu0=200.0, gpu1=100.0)
    for words in (
        ("-o", "rest.json", "--simulate", cool),
        ("-o", "twice.json", "--simulate", cool),
        ("-o", "twice.json", "--after", "--simulate", warm),
    ):
        done = pyprof("baseline", "--duration", "1s", *words, cwd=made)
        assert done.returncode == 0, done.stderr
    return made


def measured(folder: Path, tmp_path: Path, *words: str | Path, **options: Any) -> dict[str, Any]:
    """The JSON of a run on the busy signals."""
    done = pyprof(
        *("run", "--simulate", folder / "busy.toml", "-o", "run.pyprof", "-q"),
        *words,
        *("-c", WORK),
        cwd=tmp_path,
        **options,
    )
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path)
    jsonschema.validate(report, load_schema(), cls=jsonschema.Draft202012Validator)
    return report


def test_it_says_what_was_measured_and_where_it_is_kept(folder: Path, tmp_path: Path) -> None:
    words = ("baseline", "--duration", "1s", "-o", "a.json", "--simulate", folder / "cool.toml")
    done = pyprof(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = re.search(r"simulated +([\d.]+) W", done.stdout)
    assert told
    assert float(told[1]) == pytest.approx(40.0, rel=0.03)
    assert "kept in a.json (1 measurement)" in done.stdout
    assert "leave it alone" in done.stderr
    again = pyprof(*words, cwd=tmp_path)
    assert again.returncode == 2
    assert "a.json exists" in again.stderr


def test_idle_and_dynamic_energy_add_up_for_device_stage_and_total(
    folder: Path, tmp_path: Path
) -> None:
    report = measured(folder, tmp_path, "--baseline", folder / "rest.json")
    gpu0, gpu1 = report["channels"]
    length_s = report["run"]["duration_s"]
    assert gpu0["split"]["idle_j"] == pytest.approx(40.0 * length_s, rel=0.03)
    assert gpu0["split"]["dynamic_j"] == pytest.approx(160.0 * length_s, rel=0.03)
    assert gpu1["split"] is None
    assert report["baseline"]["unsplit"] == ["gpu1"]
    assert report["baseline"]["power_w"] == {"gpu0": pytest.approx(40.0, rel=0.03)}
    (step,) = (row for row in report["stages"] if row["path"] == "step")
    assert step["split"]["idle_j"] == pytest.approx(40.0 * step["wall_s"], rel=0.03)
    for row, energy_j in ((gpu0, gpu0["energy_j"]), (report["total"], gpu0["energy_j"])):
        assert sum(row["split"][name] for name in ("idle_j", "dynamic_j")) == pytest.approx(
            energy_j
        )
    text = pyprof("report", "run.pyprof", cwd=tmp_path).stdout
    assert "Idle" in text
    assert "not taken apart, as the baseline does not hold them: gpu1" in text


def test_a_measurement_after_the_work_widens_what_is_known(folder: Path, tmp_path: Path) -> None:
    report = measured(folder, tmp_path, "--baseline", folder / "twice.json")
    assert report["baseline"]["measurements"] == 2
    split, length_s = report["channels"][0]["split"], report["run"]["duration_s"]
    assert split["idle_j"] == pytest.approx(45.0 * length_s, rel=0.03)
    # Both ends, with what the short measurements leave open.
    assert 36.0 * length_s < split["idle_low_j"] <= 40.0 * 1.01 * length_s
    assert 50.0 * 0.99 * length_s <= split["idle_high_j"] < 55.0 * length_s
    assert any("gpu0 was not steady at rest" in note for note in report["baseline"]["notes"])


def test_a_report_may_take_another_baseline_or_none(folder: Path, tmp_path: Path) -> None:
    plain = measured(folder, tmp_path)
    assert plain["baseline"] is None
    assert plain["total"]["split"] is None
    split = report_of(tmp_path, "run.pyprof", "--baseline", str(folder / "rest.json"))
    assert split["total"]["energy_j"] == plain["total"]["energy_j"]
    assert split["total"]["split"]["idle_j"] > 0
    kept = measured(folder, tmp_path, "-f", "--baseline", folder / "rest.json")
    assert kept["baseline"] is not None
    assert report_of(tmp_path, "run.pyprof", "--baseline", "none")["baseline"] is None


def test_another_machines_baseline_is_never_used(folder: Path, tmp_path: Path) -> None:
    foreign = json.loads((folder / "rest.json").read_text())
    foreign["place"] |= {"host": "elsewhere", "machine_id": "0" * 32}
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(foreign))
    words = ("run", "--simulate", folder / "busy.toml", "-o", "run.pyprof")
    refused = pyprof(*words, "--baseline", path, "-c", "print('ran')", cwd=tmp_path)
    assert refused.returncode == 125
    assert "it is of host elsewhere" in refused.stderr
    assert "ran" not in refused.stdout
    measured(folder, tmp_path)
    again = pyprof("report", "run.pyprof", "--baseline", path, cwd=tmp_path)
    assert again.returncode == 2
    assert "it is of host elsewhere" in again.stderr


def test_another_machines_devices_are_told_apart(folder: Path, tmp_path: Path) -> None:
    other = json.loads((folder / "rest.json").read_text())
    other["measurements"][0]["channels"][0]["device"] = "another GPU"
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other))
    words = ("run", "--simulate", folder / "busy.toml", "-o", "run.pyprof", "--baseline", path)
    refused = pyprof(*words, "-c", "pass", cwd=tmp_path)
    assert refused.returncode == 125
    assert "it holds none of the devices" in refused.stderr


@pytest.mark.parametrize(
    "text", ["", "{}", '{"schema": 1}', "[1]", '{"schema": "pyprof.baseline/1"}']
)
def test_what_is_no_baseline_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    words = ("run", "--simulate", folder / "busy.toml", "-o", "run.pyprof", "--baseline", path)
    done = pyprof(*words, "-c", "pass", cwd=tmp_path)
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) == 1
    assert "broken.json" in done.stderr


def test_one_kept_for_this_machine_is_used_where_the_same_sensors_are(
    folder: Path, tmp_path: Path
) -> None:
    home = {"XDG_STATE_HOME": str(tmp_path / "state")}
    done = pyprof(
        *("baseline", "--duration", "1s", "--simulate", folder / "busy.toml"),
        cwd=tmp_path,
        env=home,
    )
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "state/pyprof").iterdir()
    assert str(kept) in done.stdout
    used = measured(folder, tmp_path, env=home)
    # As it rests at the power that it works with, all is idle.
    assert used["total"]["split"]["idle_j"] == pytest.approx(used["total"]["energy_j"], rel=0.03)
    others = pyprof(
        *("run", "--simulate", folder / "cool.toml", "-o", "cool.pyprof", "-q", "-c", "pass"),
        cwd=tmp_path,
        env=home,
    )
    assert others.returncode == 0
    assert report_of(tmp_path, "cool.pyprof")["baseline"] is None
    switched_off = measured(folder, tmp_path, "-f", "--baseline", "none", env=home)
    assert switched_off["baseline"] is None
    kept.write_text("{}")
    told = measured(folder, tmp_path, "-f", env=home)
    assert told["baseline"] is None
    assert any("is not a baseline" in event["text"] for event in told["events"])


def test_a_machine_without_readings_has_no_baseline(tmp_path: Path) -> None:
    done = pyprof(
        *("baseline", "--duration", "1s", "--no-model", "--sysfs", tmp_path, "-o", "a.json"),
        *("--nvml", tmp_path / "none.so"),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "there is no baseline" in done.stderr
    assert not (tmp_path / "a.json").exists()


# -- what has no sensor ----------------------------------------------------------------------------

WHOLE = """
[[channel]]
id = "meter"
domain = "host"
counted = false
kind = "constant"
watts = {whole_w}
[channel.sensor]
period_s = 0.01
"""


@pytest.mark.parametrize(("whole_w", "rest_w"), [(380.0, 80.0), (250.0, None)])
def test_a_reading_of_the_whole_gives_what_has_no_sensor(
    folder: Path, tmp_path: Path, whole_w: float, rest_w: float | None
) -> None:
    both = tmp_path / "whole.toml"
    both.write_text((folder / "busy.toml").read_text() + WHOLE.format(whole_w=whole_w))
    words = ("run", "--simulate", both, "-o", "run.pyprof", "-q", "-c", WORK)
    assert pyprof(*words, cwd=tmp_path).returncode == 0
    report = report_of(tmp_path)
    jsonschema.validate(report, load_schema(), cls=jsonschema.Draft202012Validator)
    (remainder,) = report["remainders"]
    assert (remainder["whole"], remainder["parts"]) == ("meter", ["gpu0", "gpu1"])
    assert remainder["quality"] == "derived"
    counted_j = sum(row["energy_j"] for row in report["channels"] if row["counted"])
    assert report["total"]["energy_j"] == pytest.approx(counted_j)
    text = pyprof("report", "run.pyprof", cwd=tmp_path).stdout
    if rest_w is None:
        assert remainder["energy_j"] is None
        assert "one of them is wrong" in remainder["reason"]
        assert "one of them is wrong" in text
    else:
        truth_j = rest_w * report["run"]["duration_s"]
        assert remainder["low_j"] <= remainder["energy_j"] <= remainder["high_j"]
        assert remainder["energy_j"] == pytest.approx(truth_j, rel=0.1)
        assert "Beside" in text
