"""``pyprof lifecycle``: a life cycle from a file, or published results computed again."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyprof.errors import UsageError
from pyprof.export.terminal import clean, usable_width, write

if TYPE_CHECKING:
    from pyprof.carbon.cases import Outcome
    from pyprof.carbon.lifecycle import LifeCycle, PhaseRow, Use

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

    if args.sci:
        raise UsageError(f"{path} holds cases, not a life cycle: --sci has nothing to score")
    outcomes = check_cases(table, path)
    if args.json:
        rows = [outcome.to_dict() for outcome in outcomes]
        write(sys.stdout, json.dumps(rows, indent=2, allow_nan=False) + "\n")
    else:
        write(sys.stdout, "".join(f"{clean(line)}\n" for line in _outcome_lines(outcomes)))
    return 0 if all(outcome.passes for outcome in outcomes) else 1


def _outcome_lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Outcomes as a table, and their count."""
    from pyprof.export.table import Column, draw

    columns = (
        Column("case"),
        Column("quantity", right=False),
        Column("expected"),
        Column("computed"),
        Column("pass", right=False),
    )
    rows = [
        (
            f"{each.id} {each.model or ''}".strip(),
            each.quantity,
            f"{each.expected:.10g}",
            f"{each.computed:.6g}",
            "pass" if each.passes else "FAIL",
        )
        for each in outcomes
    ]
    yield from draw(columns, rows, usable_width())
    failed = sum(not each.passes for each in outcomes)
    yield f"{len(outcomes) - failed} of {len(outcomes)} pass"


def _account(args: argparse.Namespace, table: Mapping[str, Any], path: str) -> int:
    """The life cycle."""
    from pyprof.carbon.lifecycle_file import life_cycle_from

    cycle = life_cycle_from(table, path, _load)
    if args.sci:
        from pyprof.export.sci import sci_for_ai

        write(sys.stdout, json.dumps(sci_for_ai(cycle), indent=2, allow_nan=False) + "\n")
    elif args.json:
        write(sys.stdout, json.dumps(_as_json(cycle), indent=2, allow_nan=False) + "\n")
    else:
        write(sys.stdout, "".join(f"{clean(line)}\n" for line in _lines(cycle)))
    return 0


def _load(path: str) -> Any:
    """The report of a recording, which can say when its energy was used."""
    from pyprof.loading import load

    return load(path).report()


def _as_json(cycle: LifeCycle) -> dict[str, Any]:
    """The account as JSON values, with its equivalents."""
    return {**cycle.to_dict(), "equivalents": [each.to_dict() for each in _equivalents(cycle)]}


def _equivalents(cycle: LifeCycle) -> Sequence[Any]:
    """The total in everyday units."""
    from pyprof.carbon.equivalents import equivalents

    return equivalents(cycle.kg_co2e, cycle.low_kg, cycle.high_kg)


def _lines(cycle: LifeCycle) -> Iterator[str]:
    """The account as text."""
    from pyprof.cli.carbon import mass

    yield cycle.name
    yield ""
    yield from _row_lines(cycle)
    yield ""
    yield f"total       {mass(cycle.kg_co2e, cycle.low_kg, cycle.high_kg)}, location-based"
    market = (
        "not known for every row" if cycle.market_kg is None else mass(cycle.market_kg, None, None)
    )
    yield f"market      {market}, never netted against the other"
    if cycle.dominating is not None:
        yield f"unsure      most of all {cycle.dominating.cause}"
    shares = ", ".join(
        f"{name} {kg / cycle.kg_co2e:.0%}" for name, kg in cycle.by_quality.items() if cycle.kg_co2e
    )
    yield f"known how   {shares}"
    if cycle.use is not None:
        yield from _use_lines(cycle.use)
    if cycle.deployment_kg_per_day is not None:
        yield f"use a day   {mass(cycle.deployment_kg_per_day, None, None)}"
    for item in cycle.published:
        yield f"published   {item}"
    for item in cycle.excluded:
        yield f"not in it   {item}"
    for note in cycle.notes:
        yield f"note        {note}"
    for each in _equivalents(cycle):
        yield f"about       {each.text}"


def _row_lines(cycle: LifeCycle) -> Iterator[str]:
    """Rows and phases as a table."""
    from pyprof.cli.carbon import mass
    from pyprof.export.figure import percent
    from pyprof.export.table import Column, draw

    columns = (
        Column("phase"),
        Column("kWh", leave=2),
        Column("location"),
        Column("low to high", leave=1),
        Column("market"),
        Column("share"),
    )
    rows = [
        (
            f"{row.phase}: {row.name}",
            "" if row.energy_kwh is None else f"{row.energy_kwh:.6g}",
            mass(row.kg_co2e, None, None),
            _range(row),
            "" if row.market_kg is None else mass(row.market_kg, None, None),
            percent(row.kg_co2e, cycle.kg_co2e),
        )
        for row in cycle.rows
    ]
    yield from draw(columns, rows, usable_width())


def _range(row: PhaseRow) -> str:
    """Both ends of a row's interval in one unit; empty where nothing is unsure."""
    from pyprof.export.figure import digits, mass_scale

    if row.kg_co2e is None or row.low_kg is None or row.high_kg is None:
        return ""
    if row.low_kg == row.high_kg:
        return ""
    scale = mass_scale(row.kg_co2e)
    doubt = (row.high_kg - row.low_kg) / scale.size
    return " to ".join(digits(end / scale.size, doubt) for end in (row.low_kg, row.high_kg))


def _use_lines(use: Use) -> Iterator[str]:
    """What a request costs, and what making costs beside it."""
    count = f"{use.requests:.6g} of them"
    yield f"a request   {use.wh_per_request:.4g} Wh, {use.g_per_request:.4g} g ({count})"
    if use.making_g_per_request is not None:
        yield f"making      {use.making_g_per_request:.4g} g beside each request, not added to it"
    if use.break_even_requests is not None:
        days = "" if use.break_even_days is None else f", {use.break_even_days:.4g} days"
        yield f"break-even  {use.break_even_requests:.4g} requests{days} until use equals making"
