"""Options that several verbs share, and the words they take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyprof import settings
from pyprof.errors import UsageError
from pyprof.export.terminal import say
from pyprof.sampling import PACES, Sampling, Scheduling

if TYPE_CHECKING:
    from pyprof.carbon import Scenario
    from pyprof.hardware import Look
    from pyprof.recording import Recording

_MOST_CPUS = 1024
_UNITS_S = {"ms": 1e-3, "us": 1e-6, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(text: str) -> float:
    """Seconds from a number with or without a unit; 0 for what is none."""
    unit = next((unit for unit in _UNITS_S if text.endswith(unit)), "")
    try:
        return float(text[: len(text) - len(unit)]) * _UNITS_S.get(unit, 1.0)
    except ValueError:
        return 0.0


def parse_duration(text: str) -> float:
    """Seconds from ``60s``, ``2min`` or ``60``: long enough for a sensor, at most a day."""
    duration_s = _seconds(text)
    if not 1.0 <= duration_s <= 86400.0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no duration of 1 s to 1 day: write 60s, 2min"
        )
    return duration_s


def parse_interval(text: str) -> float:
    """Seconds from ``10ms``, ``0.1s`` or ``0.1``; the session knows which can be kept."""
    interval_s = _seconds(text)
    if not 0.0 < interval_s < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 10ms, 0.1s, 2h or seconds")
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


def add_privacy(parser: argparse.ArgumentParser) -> None:
    """Whom the output may name."""
    parser.add_argument(
        "--redact", action="store_true", help="name no host, user or device: pseudonyms instead"
    )


def add_hardware(parser: argparse.ArgumentParser) -> None:
    """Where to look for sensors."""
    group = parser.add_argument_group("sensors")
    group.add_argument("--sources", metavar="A,B", help="use only these sources")
    group.add_argument("--no-model", action="store_true", help="leave unmeasured what is unread")
    group.add_argument("--sysfs", metavar="DIR", help="stands for /sys (PYPROF_SYSFS)")
    group.add_argument("--nvml", metavar="FILE", help="the NVML library (PYPROF_NVML)")
    group.add_argument(
        "--meter",
        metavar="PLACE",
        help="lines of an external meter, or dcmi:, redfish:URL (PYPROF_METER)",
    )
    group.add_argument("--simulate", metavar="FILE.toml", help="simulated signals as sensors")
    group.add_argument("--proc", metavar="DIR", help="stands for /proc (PYPROF_PROC)")
    group.add_argument(
        "--scope",
        choices=("devices", "node"),
        default="devices",
        help="the job's own GPUs (default), or all of the machine's",
    )


def add_baseline(parser: argparse.ArgumentParser) -> None:
    """The machine at rest, to take apart from the run."""
    parser.add_argument(
        "--baseline",
        metavar="FILE",
        help="idle power of 'pyprof baseline' (default: this machine's own, if it has one; 'none')",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How sensors are read."""
    group = parser.add_argument_group("sampling")
    group.add_argument(
        "--pace",
        choices=PACES,
        default="default",
        help="how closely sensors are followed",
    )
    group.add_argument(
        "--interval",
        metavar="T",
        type=parse_interval,
        help="read every 10ms, 0.1s ... instead (default: at each sensor's own pace)",
    )
    group.add_argument(
        "--budget",
        metavar="PERCENT",
        type=float,
        help="of one core, beyond which sampling slows down (0: never)",
    )
    group.add_argument("--nice", metavar="N", type=int, help="nice value of the sampling threads")
    group.add_argument("--realtime", metavar="PRIO", type=int, help="their SCHED_FIFO priority")
    group.add_argument("--cpus", metavar="0-3,8", type=parse_cpus, help="where they run")


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """What explains power. The agent has no such option: it publishes joules alone."""
    parser.add_argument(
        "--conditions",
        action="store_true",
        help="once a second also GPUs' utilisation, clock, temperature and what held them back",
    )


def sampling(args: argparse.Namespace) -> Sampling:
    """How this command reads sensors."""
    return Sampling(
        args.pace,
        args.interval,
        args.budget,
        Scheduling(args.nice, args.realtime, args.cpus),
        getattr(args, "conditions", False),
    )


def parse_cpus(text: str) -> tuple[int, ...]:
    """Processors from ``0-3,8``."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = int(first) if first.isdecimal() else -1
        high = int(last) if last.isdecimal() else low if not dash else -1
        if not 0 <= low <= high < _MOST_CPUS:
            raise argparse.ArgumentTypeError(f"{text!r} names no processors: write 0-3,8")
        cpus.update(range(low, high + 1))
    return tuple(sorted(cpus))


def look(args: argparse.Namespace) -> Look:
    """Where the sensors of this command are looked for."""
    from pyprof.hardware import Look

    names = args.sources
    sysfs = args.sysfs or settings.default_sysfs()
    return Look(
        sysfs=sysfs,
        agent=settings.default_agent(sysfs),
        nvml=args.nvml or settings.default_nvml(),
        sources=None if names is None else tuple(each for each in names.split(",") if each),
        model=not args.no_model,
        simulate=args.simulate,
        amd_smi=settings.default_place("PYPROF_AMDSMI"),
        level_zero=settings.default_place("PYPROF_ZES"),
        meter=args.meter or settings.default_place("PYPROF_METER"),
        proc=args.proc or settings.default_proc(),
        scope=args.scope,
    )


def open_recording(path: str) -> Recording:
    """The recording of that name; only the native part of pyprof can read one."""
    try:
        from pyprof.loading import load
    except ImportError as error:
        raise UsageError(
            f"{path} can't be opened, because the native part of pyprof is missing ({error}); "
            "figures in kWh need none"
        ) from None
    return load(path)


def scenario(args: argparse.Namespace, recording: Recording | None = None) -> Scenario:
    """Flags over what the recording keeps, or over the settings; an unknown zone is refused here.

    What is kept comes before the settings, so that an old report stays as it was.
    """
    from pyprof.carbon.scenario import override

    names = ("zone", "pue", "kind")
    flags = {name: getattr(args, name, None) for name in names}
    given = {name: value for name, value in flags.items() if value is not None}
    kept = None
    if recording is not None:
        kept = recording.kept if args.zone is None else recording.kept_if_sound
    made = override(_of_settings(given) if kept is None else kept, given)
    if made.has_place:
        made.resolve()
    return made


def _of_settings(given: Mapping[str, object]) -> Scenario:
    """The choices of the environment and the project. Hours and hardware are `carbon`'s matter."""
    project = settings.find_project()
    if project.note and not {"zone", "pue"} <= given.keys():
        say(project.note)
    return override_settings(project, leave_out=("intensity", "embodied"))


def override_settings(project: settings.Project, leave_out: Sequence[str] = ()) -> Scenario:
    """The project's scenario, with the zone of the environment over it."""
    from dataclasses import fields

    from pyprof.carbon.scenario import Scenario, override, scenario_from_section
    from pyprof.carbon.toml import Section

    settings.find_pue(None, project)
    zone = settings.find_zone(None, project)
    names = {field.name for field in fields(Scenario)} - {"kept", *leave_out}
    known = {name: value for name, value in project.table.items() if name in names}
    folder = "" if project.path is None else str(project.path.parent)
    made = scenario_from_section(Section(known, "[tool.pyprof]"), folder=folder)
    return made if zone is None or zone == made.zone else override(made, {"zone": zone})
