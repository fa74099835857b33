"""``pyprof lifecycle``: a life cycle from a file, or published results computed again."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyprof.cli import options
from pyprof.errors import UsageError
from pyprof.export.terminal import clean, usable_width, write

if TYPE_CHECKING:
    from pyprof.carbon.ledger import ReportLike
    from pyprof.carbon.lifecycle import LifeCycle

NAME = "lifecycle"
HELP = "Add up a life cycle: hardware, idle, development, training, use. Or check published cases."
EXAMPLES = """\
examples:
  pyprof lifecycle model.toml               docs/schemas/scenario.md has the form
  pyprof lifecycle --example bloom          the life cycle of BLOOM, from published inputs
  pyprof lifecycle cases.toml --json        a file of [[case]]: exit 1 when one fails
  pyprof lifecycle --published              the published cases that pyprof ships
  pyprof lifecycle model.toml --sci         SCI scores of provider and consumer, apart
"""
_EXAMPLES = {"bloom": "bloom.toml", "bloom-api": "bloom_api.toml"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of this verb."""
    parser.add_argument("file", nargs="?", metavar="FILE.toml", help="a life cycle, or [[case]]s")
    parser.add_argument("--published", action="store_true", help="the shipped published cases")
    parser.add_argument("--example", metavar="NAME", help=f"shipped: {', '.join(_EXAMPLES)}")
    parser.add_argument("--sci", action="store_true", help="SCI for AI, as JSON")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Prints the account, or the outcomes of the cases."""
    from pyprof.carbon.toml import read_toml

    path = _path(args)
    table = read_toml(path)
    if "case" in table:
        return _check(args, table, path)
    return _account(args, table, path)


def _path(args: argparse.Namespace) -> str:
    """The one file that was named."""
    from pyprof.carbon.table import data_path

    if sum((args.file is not None, args.published, args.example is not None)) != 1:
        raise UsageError("give one of: a file, --published or --example NAME")
    if args.published:
        return data_path("published_cases.toml")
    if args.example is None:
        return str(args.file)
    if args.example not in _EXAMPLES:
        raise UsageError(f"unknown example {args.example!r}: use {', '.join(_EXAMPLES)}")
    return data_path(_EXAMPLES[args.example])


def _check(args: argparse.Namespace, table: Mapping[str, Any], path: str) -> int:
    """Published figures beside computed ones; 1 when one fails."""
    from pyprof.carbon.cases import check_cases
    from pyprof.export.lifecycle import outcome_lines

    if args.sci:
        raise UsageError(f"{path} holds cases, not a life cycle: --sci has nothing to score")
    outcomes = check_cases(table, path)
    if args.json:
        rows = [outcome.to_dict() for outcome in outcomes]
        write(sys.stdout, json.dumps(rows, indent=2, allow_nan=False) + "\n")
    else:
        _print(outcome_lines(outcomes, usable_width()))
    return 0 if all(outcome.passes for outcome in outcomes) else 1


def _account(args: argparse.Namespace, table: Mapping[str, Any], path: str) -> int:
    """The life cycle."""
    from pyprof.carbon.lifecycle_file import life_cycle_from
    from pyprof.export.lifecycle import life_cycle_lines

    cycle = life_cycle_from(table, path, _report)
    if args.sci:
        from pyprof.export.sci import sci_for_ai

        write(sys.stdout, json.dumps(sci_for_ai(cycle), indent=2, allow_nan=False) + "\n")
    elif args.json:
        write(sys.stdout, json.dumps(_as_json(cycle), indent=2, allow_nan=False) + "\n")
    else:
        _print(life_cycle_lines(cycle, _equivalents(cycle), usable_width()))
    return 0


def _report(path: str) -> ReportLike:
    """The report of a recording, which can say when its energy was used."""
    return options.open_recording(path).energy()


def _as_json(cycle: LifeCycle) -> dict[str, Any]:
    """The account as JSON values, with its equivalents."""
    return {**cycle.to_dict(), "equivalents": [each.to_dict() for each in _equivalents(cycle)]}


def _equivalents(cycle: LifeCycle) -> Sequence[Any]:
    """The total in everyday units."""
    from pyprof.carbon.equivalents import equivalents

    return equivalents(cycle.kg_co2e, cycle.low_kg, cycle.high_kg)


def _print(lines: Iterable[str]) -> None:
    """Lines on stdout; no name drives the terminal."""
    write(sys.stdout, "".join(f"{clean(line)}\n" for line in lines))
