"""``pyprof doctor``: readable, not readable, why, and what mends it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import pyprof, signals
from sim import ready


def rapl_tree(folder: Path) -> Path:
    """A tree with one package and its memory, as the kernel lays it out."""
    powercap = folder / "sys" / "class" / "powercap"
    (powercap / "intel-rapl").mkdir(parents=True)
    (powercap / "intel-rapl" / "enabled").write_text("1\n")
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "dram")):
        (powercap / zone).mkdir()
        (powercap / zone / "name").write_text(f"{name}\n")
        (powercap / zone / "energy_uj").write_text("123456789\n")
        (powercap / zone / "max_energy_range_uj").write_text("262143328850\n")
    return folder / "sys"


def doctor(folder: Path, *words: str | Path) -> tuple[int, dict[str, Any]]:
    done = pyprof("doctor", "--json", *words, cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_readable_sensors_are_named_with_their_cost(tmp_path: Path) -> None:
    tree = rapl_tree(tmp_path)
    status, found = doctor(tmp_path, "--sysfs", tree)
    assert status == 0
    assert found["readable"] is True
    (rapl,) = (row for row in found["sources"] if row["name"] == "rapl-powercap")
    assert rapl["available"] is True
    assert "package-0" in rapl["channels"]
    assert 0 < rapl["read_cost_us"] < 100_000
    text = pyprof("doctor", "--sysfs", tree, cwd=tmp_path).stdout
    assert "rapl-powercap: available" in text
    assert "µs" in text


def test_nothing_readable_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    status, found = doctor(tmp_path, "--sysfs", tmp_path / "sys", "--nvml", "/no/such/library.so")
    assert status == 1
    assert found["readable"] is False
    for row in found["sources"]:
        if row["name"] in ("rapl-powercap", "nvml"):
            assert row["available"] is False
            assert row["reason"]
            assert row["remedy"]
    assert any(row["quality"] == "modelled" for row in found["channels"])


def test_without_models_nothing_is_estimated(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    _, found = doctor(tmp_path, "--sysfs", tmp_path / "sys", "--no-model")
    assert found["channels"] == []
    assert found["unmeasured"]


def test_update_period_is_what_the_sensor_does(tmp_path: Path) -> None:
    file = signals(tmp_path)
    file.write_text(file.read_text().replace("period_s = 0.001", "period_s = 0.1"))
    status, found = doctor(tmp_path, "--simulate", file)
    (channel,) = found["channels"]
    assert channel["update_period_s"] == pytest.approx(0.1, rel=0.2)
    assert status == 1, "a simulated signal is no sensor of this machine"


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to become nobody")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
def test_files_of_root_get_a_narrow_remedy(tmp_path: Path) -> None:
    tree = rapl_tree(tmp_path)
    for file in tree.rglob("energy_uj"):
        file.chmod(stat.S_IRUSR)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)

    nobody = (
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        sys.executable,
        "-m",
        "pyprof",
    )
    if pyprof("--version", cwd=Path("/"), module=nobody).returncode != 0:
        pytest.skip("this Python can't be used by nobody")
    done = pyprof("doctor", "--sysfs", tree, cwd=Path("/"), module=nobody)
    assert done.returncode == 1, done.stderr
    text = done.stdout
    assert "energy_uj" in text
    assert "ermission denied" in text
    for word in ("chgrp powercap", "usermod -aG powercap", "udev", "CVE-2020-8694"):
        assert word in " ".join(text.split())
    for forbidden in ("chmod -R", "a+r", "o+r", "sudo pyprof", "as root"):
        assert forbidden not in text


def test_text_fits_and_has_no_escapes_in_a_pipe(tmp_path: Path) -> None:
    text = pyprof("doctor", cwd=tmp_path).stdout
    assert "\x1b" not in text
    assert "Sources" in text


def test_the_machine_is_taken_stock_of(tmp_path: Path) -> None:
    _, found = doctor(tmp_path)
    parts = found["inventory"]
    assert parts["threads"] == psutil.cpu_count()
    assert parts["memory_bytes"] == psutil.virtual_memory().total
    assert f"{parts['memory_bytes'] / 2**30:.1f} GiB" in pyprof("doctor", cwd=tmp_path).stdout


def test_gpus_are_listed_by_name_and_uuid(tmp_path: Path) -> None:
    with ready.mixed_models().running(tmp_path) as machine:
        env = {name: machine.env[name] for name in ("LD_LIBRARY_PATH", "SIM_NVML_SPEC")}
        done = pyprof("doctor", "--json", cwd=tmp_path, env=env)
        text = pyprof("doctor", cwd=tmp_path, env=env).stdout
    parts = json.loads(done.stdout)["inventory"]
    assert parts["nvidia_driver"] == machine.machine.driver
    assert [gpu["name"] for gpu in parts["gpus"]] == [gpu.name for gpu in machine.machine.gpus]
    for gpu in parts["gpus"]:
        assert gpu["uuid"] in text


def test_a_given_library_is_not_mixed_with_the_system_s(tmp_path: Path) -> None:
    with ready.mixed_models().running(tmp_path) as machine:
        _, found = doctor(tmp_path, "--nvml", tmp_path / "none.so")
        assert found["inventory"]["gpus"] == []
        assert machine.machine.gpus


def test_a_library_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    done = pyprof("doctor", "--json", cwd=tmp_path, env={"LD_LIBRARY_PATH": str(tmp_path)})
    parts = json.loads(done.stdout)["inventory"]
    assert (parts["nvidia_driver"], parts["gpus"]) == (None, [])
    assert done.stderr == ""


def test_no_remedy_of_this_machine_is_out_of_reach(tmp_path: Path) -> None:
    """A guest or a container is never told to load a module or to be root."""
    _, found = doctor(tmp_path)
    told = " ".join(source["remedy"] or "" for source in found["sources"])
    walls = [note for note in found["notes"] if note.startswith(("virtual", "container"))]
    assert not (walls and "sudo modprobe" in told)
    assert "as root" not in told
