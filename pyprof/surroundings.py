"""What stands between this process and the hardware: a hypervisor, a container."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

_MARKS = (
    ("/.dockerenv", "Docker"),
    ("/run/.containerenv", "Podman"),
    ("/.singularity.d", "Apptainer"),
)
_VARIABLES = (("KUBERNETES_SERVICE_HOST", "Kubernetes"), ("APPTAINER_CONTAINER", "Apptainer"))
_CGROUPS = ("docker", "kubepods", "containerd", "libpod", "lxc")

_ON_THE_HOST = (
    "run pyprof on the host of this virtual machine, as no guest is given the processor's energy "
    "counters"
)
_INTO_THE_CONTAINER = (
    "load the kernel module on the host (intel_rapl_msr), start the container with "
    "-v /sys:/host/sys:ro and give pyprof --sysfs /host/sys (whoever is in that container can then "
    "observe other users' activity, CVE-2020-8694)"
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Whether this is a virtual machine, and the kind of container around this process."""

    virtual: bool
    container: str | None

    def remedy(self, native: str | None) -> str | None:
        """What helps here in place of ``native``, the remedy of a machine without walls."""
        if native is None or not (self.virtual or self.container):
            return native
        if "modprobe" in native:
            return _ON_THE_HOST if self.virtual else _INTO_THE_CONTAINER
        if self.container and "sudo chgrp" in native:
            return (
                f"on the host, not in this container: {native}; then start the container with "
                "--group-add and the number of that group"
            )
        if self.container and "sudo chmod" in native:
            return f"on the host, not in this container: {native}"
        return native


def look(root: str = "/", environ: Mapping[str, str] | None = None) -> Surroundings:
    """What can be told from inside; ``root`` stands for /."""
    variables = os.environ if environ is None else environ
    return Surroundings(is_virtual(os.path.join(root, "proc")), _container(root, variables))


def is_virtual(proc: str) -> bool:
    """Whether the processor says that a hypervisor runs it."""
    for line in _text(f"{proc}/cpuinfo").splitlines():
        if line.startswith("flags"):
            return "hypervisor" in line.split()
    return False


def _container(root: str, environ: Mapping[str, str]) -> str | None:
    for mark, kind in _MARKS:
        if os.path.lexists(os.path.join(root, mark.lstrip("/"))):
            return kind
    for name, kind in _VARIABLES:
        if name in environ:
            return kind
    return _told(root)


def _told(root: str) -> str | None:
    """What the first process was told, or the control group that it is in."""
    for word in _text(os.path.join(root, "proc/1/environ")).split("\0"):
        if word.startswith("container="):
            return word.partition("=")[2] or "unnamed"
    groups = _text(os.path.join(root, "proc/1/cgroup"))
    return next((name for name in _CGROUPS if name in groups), None)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
