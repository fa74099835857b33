"""``pyprof agent``: the service that reads sensors for users who may not."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from importlib import resources
from pathlib import Path

from pyprof.cli import options
from pyprof.errors import UsageError
from pyprof.export.terminal import say, write

NAME = "agent"
HELP = "Read this machine's sensors for users who may not, and publish closed files for a group."
EXAMPLES = """\
examples:
  pyprof agent --print-unit | sudo tee /etc/systemd/system/pyprof-agent.service
  sudo groupadd --system pyprof && sudo systemctl enable --now pyprof-agent
  sudo usermod -aG pyprof alice        what alice runs is then measured, from her next login on

The service takes no orders and listens to nothing. Whoever is in the group sees what the whole
machine uses: of processors by default in steps of 1 s and 1 J, since finer ones give away what
others compute (CVE-2020-8694). It runs until SIGTERM.
"""

_PUBLISHED = "/run/pyprof"
_GROUP = "pyprof"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of this verb."""
    group = parser.add_argument_group("what is published")
    group.add_argument("--folder", metavar="DIR", help=f"where (PYPROF_AGENT, else {_PUBLISHED})")
    group.add_argument("--group", metavar="NAME", help="who may read it (default: own group)")
    group.add_argument("--step", metavar="T", type=_step, default=1.0, help="of time (1s; 0: none)")
    group.add_argument("--quantum", metavar="J", type=float, default=1.0, help="of energy, J (1)")
    group.add_argument("--coarse-gpus", action="store_true", help="the same steps for GPUs")
    group.add_argument("--keep", metavar="T", type=_long, default=3600.0, help="for how long (1h)")
    group.add_argument("--segment", metavar="T", type=_long, default=10.0, help="a file (10s)")
    parser.add_argument("--print-unit", action="store_true", help="print a systemd unit and end")
    options.add_sampling(parser)
    options.add_hardware(parser)


def run(args: argparse.Namespace) -> int:
    """Serves until it is told to end."""
    if args.print_unit:
        write(sys.stdout, unit(args))
        return 0
    from pyprof.agent import Agent, Terms, describe

    terms = Terms(
        folder=Path(args.folder or os.environ.get("PYPROF_AGENT") or _PUBLISHED),
        group=None if args.group is None else _group_id(args.group),
        step_s=args.step,
        quantum_j=args.quantum,
        coarse_gpus=args.coarse_gpus,
        keep_s=args.keep,
        segment_s=args.segment,
    )
    agent = Agent(options.look(args), terms, options.sampling(args))
    say(f"publishing in {terms.folder}: {'; '.join(describe(agent.machine, terms))}")
    if terms.step_s < 1 or terms.quantum_j < 1:
        say(
            "finer than 1 s and 1 J: whoever is in the group may learn what others compute "
            "(CVE-2020-8694)"
        )
    agent.run()
    return 0


def unit(args: argparse.Namespace) -> str:
    """The unit, with this installation's own command in it."""
    folder = args.folder or _PUBLISHED
    if os.path.dirname(os.path.normpath(folder)) != "/run":
        raise UsageError(f"the unit publishes in a folder of /run, which {folder} is not")
    words = [sys.executable, "-I", "-m", "pyprof", "agent", "--folder", folder]
    if args.step != 1.0 or args.quantum != 1.0:
        words += ["--step", f"{args.step:g}s", "--quantum", f"{args.quantum:g}"]
    words += ["--coarse-gpus"] if args.coarse_gpus else []
    text = resources.files("pyprof").joinpath("data/pyprof-agent.service").read_text("utf-8")
    for mark, value in (
        ("@COMMAND@", shlex.join(words)),
        ("@GROUP@", args.group or _GROUP),
        ("@FOLDER@", os.path.basename(os.path.normpath(folder))),
    ):
        text = text.replace(mark, value)
    return text


def _group_id(name: str) -> int:
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isdigit():
            return int(name)
    raise UsageError(f"there is no group {name!r}: make it with 'sudo groupadd --system {name}'")


def _step(text: str) -> float:
    """Seconds; 0 publishes what is read as it is."""
    return 0.0 if text in ("0", "0s") else options.parse_interval(text)


def _long(text: str) -> float:
    """Seconds from ``30min``, ``2h``, ``90s`` or ``90``."""
    units = {"h": 3600.0, "min": 60.0, "s": 1.0}
    name = next((name for name in units if text.endswith(name)), "")
    try:
        return float(text.removesuffix(name)) * units.get(name, 1.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no length: write 30min, 2h or 90s") from None
