"""``pyprof recover``: what is left of a damaged recording, as a new one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pyprof.errors import UsageError
from pyprof.export.terminal import say, write

NAME = "recover"
HELP = "Save what is left of a damaged recording as a new one. The old file is not changed."
EXAMPLES = """\
examples:
  pyprof recover train.pyprof -o saved.pyprof
  pyprof report saved.pyprof

exit status: 0 nothing was lost, 1 something was (each loss is named, and kept in the new
recording), 2 nothing can be recovered, 4 the recording is of a newer schema.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of this verb."""
    parser.add_argument("file", metavar="FILE", help="the damaged recording")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="the new recording")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite what exists")


def run(args: argparse.Namespace) -> int:
    """Saves, and says what and what not."""
    from pyprof.salvage import recover

    file = Path(args.file)
    if file.is_dir():
        raise UsageError(f"{file} is a folder: give one of the files in it")
    saved = recover(file, Path(args.out), overwrite=args.force)
    channels, marks = len(saved.recording.channels), len(saved.recording.marks)
    write(
        sys.stdout,
        f"{args.out}: {saved.changes} readings of {channels} channels, {marks} rows of stages\n",
    )
    for loss in saved.losses:
        say(loss)
    return 1 if saved.losses else 0
