"""``pyprof report``: a recording accounted for again."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.baseline import NONE, load
from pyprof.cli import options
from pyprof.errors import BaselineError, PyprofError, UsageError
from pyprof.export.terminal import say, usable_width, wants_colour, write

if TYPE_CHECKING:
    from pyprof.baseline import Baseline
    from pyprof.carbon import Scenario
    from pyprof.energy import EnergyReport
    from pyprof.recording import Recording

NAME = "report"
HELP = "Account for a recording again: any zone, any PUE, as text or JSON."
EXAMPLES = """\
examples:
  pyprof report train.pyprof
  pyprof report train.pyprof --zone DE --pue 1.3
  pyprof report train.pyprof --json | jq .total.energy_kwh

Of a run that died before its end train.pyprof.d is left: 'pyprof report train.pyprof' makes
train.pyprof of it, once nothing writes to it any more.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of this verb."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="a recording, or a run's folder")
    parser.add_argument("--json", nargs="?", const="-", metavar="OUT", help="JSON (alone: stdout)")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite what exists")
    options.add_privacy(parser)
    options.add_place(parser)
    options.add_baseline(parser)
    parser.add_argument("--kind", choices=("lifecycle", "direct"), help="kind of grid factor")
    group = parser.add_argument_group("text").add_mutually_exclusive_group()
    group.add_argument("--stages", type=int, metavar="N", help="show the N largest stages (20)")
    group.add_argument("--all", action="store_true", help="show all stages")
    parser.add_argument("--no-colour", "--no-color", action="store_true", help="no escapes")


def run(args: argparse.Namespace) -> int:
    """Prints the report."""
    if args.file is None and args.json not in (None, "-"):
        args.file, args.json = args.json, "-"  # pyprof report --json FILE
    if args.file is None:
        raise UsageError("no recording given: write 'pyprof report FILE'")
    if args.stages is not None and args.stages < 1:
        raise UsageError(f"--stages must be at least 1, not {args.stages}")
    if args.json not in (None, "-") and os.path.realpath(args.json) == os.path.realpath(args.file):
        raise UsageError(f"{args.json} is the recording itself: give the JSON another name")
    recording, file = _load(args.file)
    completed = _complete(recording)
    recording = completed or recording
    scenario = options.scenario(args, recording)
    if args.baseline == NONE:
        recording = recording.without_baseline
    baseline = _baseline(args.baseline, recording)
    report = _report(recording, scenario, baseline, redacted=args.redact)
    if args.json is None:
        write(sys.stdout, _text(report, args, scenario))
    else:
        from pyprof.export.json import report_json

        _write_json(args.json, report_json(report), args.force)
    if completed is not None:
        _keep(completed, file)
    return 0


def _report(
    recording: Recording, scenario: Scenario, baseline: Baseline | None, *, redacted: bool
) -> EnergyReport:
    """The report, with pseudonyms where they are wanted."""
    if not redacted:
        return recording.report(scenario=scenario, baseline=baseline)
    from pyprof.privacy import redact, redact_stages

    nameless, names = redact(recording)
    return redact_stages(nameless.report(scenario=scenario, baseline=baseline), names)


def _load(name: str) -> tuple[Recording, Path]:
    """The recording and its file; what a dead run left becomes the one file that it was to be."""
    from pyprof.loading import FOLDER_SUFFIX
    from pyprof.loading import load as load_recording
    from pyprof.runfolder import fold_remains

    try:
        folded = fold_remains(Path(name))
    except PyprofError as error:
        say(str(error))
        folded = None
    if folded is not None:
        say(f"the run of {folded} was cut short: what it left is now in that file")
    file = name.removesuffix(FOLDER_SUFFIX)
    chosen = file if not os.path.lexists(name) and os.path.isfile(file) else name
    return load_recording(chosen), Path(chosen)


def _complete(recording: Recording) -> Recording | None:
    """The recording with what its agent has published since the end, if that is anything."""
    from pyprof.runfolder import complete

    return complete(recording)


def _keep(completed: Recording, file: Path) -> None:
    """What the agent has published since the end goes into the file, if that can be changed."""
    from pyprof.runfolder import keep

    try:
        if keep(completed, file):
            say(f"what the agent has published since the end is now in {file} as well")
    except PyprofError as error:
        say(str(error))


def _baseline(name: str | None, recording: Recording) -> Baseline | None:
    """The baseline that was named, if it is of the machine that was recorded."""
    if name in (None, NONE):
        return None
    baseline = load(name or "")
    why = baseline.why_not(recording.place, recording.channels)
    if why is not None:
        raise BaselineError(f"the baseline {name} can't be used for {recording.path}: {why}")
    return baseline


def _text(report: EnergyReport, args: argparse.Namespace, scenario: Scenario) -> str:
    """The report as the terminal, the pipe and the flags want it."""
    from pyprof.export.text import DEFAULT_STAGES, render

    return render(
        report,
        colour=not args.no_colour and wants_colour(sys.stdout),
        width=usable_width(),
        most_stages=None if args.all else args.stages or DEFAULT_STAGES,
        kind=scenario.kind,
        pue=scenario.pue,
    )


def _write_json(target: str, text: str, overwrite: bool) -> None:
    """To stdout or to a file."""
    if target == "-":
        write(sys.stdout, text)
        return
    try:
        with open(target, "w" if overwrite else "x", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{target} exists: give another name, or -f to overwrite it") from None
    except OSError as error:
        raise UsageError(f"{target} can't be written: {os.strerror(error.errno or 0)}") from None
