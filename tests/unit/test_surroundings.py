"""Remedies fit where they are read: a guest can't load its host's kernel modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyprof.surroundings import Surroundings, look

MODPROBE = "sudo modprobe intel_rapl_msr"
GROUP = "sudo groupadd -f powercap && sudo chgrp powercap /sys/x && sudo chmod g+r /sys/x"


def machine(root: Path, flags: str = "fpu sse2", environ: str = "", cgroup: str = "0::/") -> Path:
    (root / "proc" / "1").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    (root / "proc" / "1" / "environ").write_text(environ)
    (root / "proc" / "1" / "cgroup").write_text(cgroup)
    return root


def test_bare_metal_keeps_every_remedy(tmp_path: Path) -> None:
    around = look(str(machine(tmp_path)), {})
    assert around == Surroundings(virtual=False, container=None)
    assert [around.remedy(each) for each in (MODPROBE, GROUP, None)] == [MODPROBE, GROUP, None]


def test_a_guest_is_sent_to_its_host(tmp_path: Path) -> None:
    around = look(str(machine(tmp_path, flags="fpu hypervisor sse2")), {})
    assert around.virtual
    words = around.remedy(MODPROBE) or ""
    assert "modprobe" not in words
    assert "on the host" in words
    assert around.remedy(GROUP) == GROUP


def test_a_container_is_given_the_tree_with_its_risk(tmp_path: Path) -> None:
    root = machine(tmp_path)
    (root / ".dockerenv").touch()
    around = look(str(root), {})
    assert around == Surroundings(virtual=False, container="Docker")
    words = around.remedy(MODPROBE) or ""
    assert "-v /sys:/host/sys:ro" in words
    assert "--sysfs /host/sys" in words
    assert "CVE-2020-8694" in words
    group = around.remedy(GROUP) or ""
    assert group.startswith("on the host, not in this container: sudo groupadd")
    assert "--group-add" in group


@pytest.mark.parametrize(
    ("told", "environ", "kind"),
    [
        ({"environ": "A=1\0container=podman\0"}, {}, "podman"),
        ({"cgroup": "12:cpu:/kubepods/besteffort/pod1"}, {}, "kubepods"),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "Kubernetes"),
        ({}, {"APPTAINER_CONTAINER": "/image.sif"}, "Apptainer"),
    ],
)
def test_kinds_of_container(
    tmp_path: Path, told: dict[str, str], environ: dict[str, str], kind: str
) -> None:
    assert look(str(machine(tmp_path, **told)), environ).container == kind


def test_no_proc_is_no_wall(tmp_path: Path) -> None:
    assert look(str(tmp_path), {}) == Surroundings(virtual=False, container=None)


@pytest.mark.parametrize("around", [Surroundings(True, None), Surroundings(False, "Docker")])
@pytest.mark.parametrize("native", [MODPROBE, GROUP, "sudo chmod o+r /sys/x"])
def test_nobody_is_told_to_open_everything(around: Surroundings, native: str) -> None:
    words = around.remedy(native) or ""
    assert "as root" not in words
    assert "chmod -R" not in words
    assert "--privileged" not in words
