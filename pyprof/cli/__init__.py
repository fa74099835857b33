"""The command: one module per verb, loaded when it is used.

A verb's module has ``HELP``, ``EXAMPLES``, ``add_arguments(parser)`` and ``run(args) -> int``.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

#: The table of verbs, in the order of the help, each with its line there.
VERBS = {
    "run": "measure a command: its energy and carbon, stage by stage",
    "report": "account for a recording again, for any zone, as text or JSON",
    "baseline": "measure the machine at rest, to tell idle from dynamic energy",
    "recover": "save what is left of a damaged recording as a new one",
    "doctor": "what can be read on this machine, why not the rest, and the remedy",
    "agent": "a service that reads the sensors for users who may not",
    "carbon": "a recording or bare figures as carbon: zones, hours, hardware, standards",
    "lifecycle": "a whole life cycle: hardware, idle, development, training, use",
    "factors": "the grid factors and hardware figures behind it all, with their sources",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and gives its exit status."""
    # While modules load there is nothing to tidy up, and no try that could keep Ctrl-C quiet.
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pyprof.cli.command import run_command

    return run_command(argv, interrupt)
