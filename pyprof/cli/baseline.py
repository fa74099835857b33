"""``pyprof baseline``: the machine at rest, measured and kept."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof.cli import options
from pyprof.errors import BaselineError, UsageError
from pyprof.export import figure
from pyprof.export.lines import Page, bullet
from pyprof.export.table import Column, draw
from pyprof.export.terminal import clean, paint, say, usable_width, wants_colour, write

if TYPE_CHECKING:
    from pyprof.baseline import AtRest, Baseline

NAME = "baseline"
HELP = "Measure the machine at rest, so that reports tell idle from dynamic energy."
EXAMPLES = """\
examples:
  pyprof baseline                          rest for a minute; kept for this machine's runs
  pyprof baseline --duration 5min
  pyprof baseline --after                  once more after the work: the mean counts, with spread
  pyprof baseline -o rest.json && pyprof run --baseline rest.json -- python train.py

Leave the machine alone meanwhile: whatever runs is taken for rest. The file names its machine and
its devices, and is used for no other.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of this verb."""
    parser.add_argument(
        "--duration",
        metavar="T",
        type=options.parse_duration,
        default=60.0,
        help="how long to look: 60s (default), 5min ...",
    )
    parser.add_argument("-o", "--out", metavar="FILE", help="where to keep it (this machine's own)")
    parser.add_argument("--after", action="store_true", help="add to what was measured before")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite what exists")
    parser.add_argument("--json", action="store_true", help="the baseline as JSON on stdout")
    options.add_hardware(parser)


def run(args: argparse.Namespace) -> int:
    """Measures, keeps, tells."""
    from pyprof.baseline import Baseline, Place, default_path, load, save
    from pyprof.rest import measure

    path = Path(args.out) if args.out else default_path()
    if args.out and not (args.force or args.after) and os.path.lexists(path):
        raise UsageError(f"{path} exists: give another name, --after to add to it, or -f")
    look = options.look(args)
    place = Place.here(look.sysfs, look.nvml, look.simulate)
    before = load(path) if args.after else None
    if before is not None and not before.place.is_host_of(place):
        raise BaselineError(f"{path} is the baseline of host {before.place.host}: not added to")
    if not args.json:
        say(f"measuring the machine at rest for {figure.duration(args.duration)}: leave it alone")
    made = measure(look, args.duration)
    if before is not None and not any(before.rest_of(row) for row in made.channels):
        raise BaselineError(f"{path} holds none of the devices measured now: not added to")
    baseline = Baseline(place, (made,)) if before is None else before.with_more(made)
    save(baseline, path, overwrite=True)
    if args.json:
        write(sys.stdout, baseline.to_json(indent=2) + "\n")
    else:
        page = Page(wants_colour(sys.stdout), usable_width())
        write(sys.stdout, "\n".join(_page(baseline, path, page)) + "\n")
    return 0


_COLUMNS = (
    Column("component"),
    Column("at rest", point=True),
    Column("range", leave=3),
    Column("drift", leave=2),
    Column("quality", right=False, leave=1),
)


def _page(baseline: Baseline, path: Path, page: Page) -> list[str]:
    """One row per device, then what is doubtful, then where it is kept."""
    last = baseline.measurements[-1]
    rows = [_cells(rest) for row in last.channels if (rest := baseline.rest_of(row))]
    head, *body = draw(_COLUMNS, rows, page.width, 40)
    lines = [paint(head, "bold", page.colour), *body]
    for note in baseline.notes():
        lines += bullet(clean(note), page)
    times = len(baseline.measurements)
    return [*lines, f"kept in {path} ({times} measurement{'' if times == 1 else 's'})"]


def _cells(rest: AtRest) -> list[str]:
    """One device as text."""
    return [
        clean(f"{rest.id}  {rest.device.removesuffix(rest.id).rstrip()}".rstrip()),
        figure.power(rest.power_w),
        f"{rest.low_w:.1f} to {rest.high_w:.1f} W",
        "" if rest.drift_w is None else f"{rest.drift_w:+.2f} W",
        rest.quality,
    ]
