"""Options that several verbs share, and the words they take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyprof import settings
from pyprof.export.terminal import say

if TYPE_CHECKING:
    from pyprof.carbon import Scenario
    from pyprof.hardware import Look

_UNITS_S = {"ms": 1e-3, "us": 1e-6, "s": 1.0, "min": 60.0}


def parse_interval(text: str) -> float:
    """Seconds from ``10ms``, ``0.1s`` or ``0.1``."""
    unit = next((unit for unit in _UNITS_S if text.endswith(unit)), "")
    try:
        interval_s = float(text[: len(text) - len(unit)]) * _UNITS_S.get(unit, 1.0)
    except ValueError:
        interval_s = 0.0
    if not 1e-4 <= interval_s <= 60.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no interval: write 10ms, 0.1s or seconds")
    return interval_s


def parse_pue(text: str) -> float:
    """A PUE: a facility never uses less than its machines."""
    try:
        pue = float(text)
    except ValueError:
        pue = 0.0
    if not 1.0 <= pue < 100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no PUE: it is a number of at least 1")
    return pue


def add_place(parser: argparse.ArgumentParser) -> None:
    """Where the energy was used."""
    group = parser.add_argument_group("carbon")
    group.add_argument("--zone", metavar="Z", help="grid zone, such as FR (PYPROF_ZONE)")
    group.add_argument("--pue", metavar="P", type=parse_pue, help="overhead of the facility")


def add_hardware(parser: argparse.ArgumentParser) -> None:
    """Where to look for sensors."""
    group = parser.add_argument_group("sensors")
    group.add_argument("--sources", metavar="A,B", help="use only these sources")
    group.add_argument("--no-model", action="store_true", help="leave unmeasured what is unread")
    group.add_argument("--sysfs", metavar="DIR", help="stands for /sys (PYPROF_SYSFS)")
    group.add_argument("--nvml", metavar="FILE", help="the NVML library (PYPROF_NVML)")
    group.add_argument("--simulate", metavar="FILE.toml", help="simulated signals as sensors")


def look(args: argparse.Namespace) -> Look:
    """Where the sensors of this command are looked for."""
    from pyprof.hardware import Look

    names = args.sources
    return Look(
        sysfs=args.sysfs or settings.default_sysfs(),
        nvml=args.nvml or settings.default_nvml(),
        sources=None if names is None else tuple(each for each in names.split(",") if each),
        model=not args.no_model,
        simulate=args.simulate,
    )


def scenario(args: argparse.Namespace) -> Scenario:
    """Zone and PUE from flag, environment or project; an unknown zone is refused here."""
    from pyprof.carbon import Scenario

    project = settings.find_project()
    if project.note and not (args.zone and args.pue):
        say(project.note)
    zone = settings.find_zone(args.zone, project)
    pue = settings.find_pue(args.pue, project)
    kind = getattr(args, "kind", None) or "lifecycle"
    made = Scenario(zone=zone, pue=pue, kind=kind)
    if made.has_place:
        made.resolve()
    return made
