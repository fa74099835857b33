"""``pyprof factors``: what the tables hold, where it comes from and how far to trust it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pyprof.errors import UnknownZoneError, UsageError
from pyprof.export.terminal import clean, usable_width, write

if TYPE_CHECKING:
    from pyprof.carbon.grid import Place, Resolution

NAME = "factors"
HELP = "List, search, explain and compare grid factors, hardware and equivalents."
EXAMPLES = """\
examples:
  pyprof factors                            all zones
  pyprof factors germany                    search; one zone is explained
  pyprof factors US-CA --kind direct
  pyprof factors --compare FR,DE,US,AU
  pyprof factors --diff new_edition.csv     what a new table would change
  pyprof factors --embodied a100
  pyprof factors --embodied --basis "published footprint"
  pyprof factors --equivalents
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of this verb."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="a zone, or words to search for")
    parser.add_argument("--kind", choices=("lifecycle", "direct"), default="lifecycle")
    parser.add_argument("--table", metavar="CSV", help="your own rows over the tables")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--compare", metavar="A,B", help="several zones, of one kind")
    what.add_argument("--diff", metavar="CSV", help="hold another edition against the shipped one")
    what.add_argument("--embodied", action="store_true", help="manufacturing of hardware")
    what.add_argument("--equivalents", action="store_true", help="everyday equivalents")
    parser.add_argument("--basis", metavar="WORDS", help="hardware on one basis only")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Prints what was asked; 1 where a search finds nothing or a table differs."""
    values, lines = _find(args)
    if args.json:
        write(sys.stdout, json.dumps(values, indent=2, allow_nan=False) + "\n")
    else:
        write(sys.stdout, "".join(f"{clean(line)}\n" for line in lines))
    if args.diff is not None:
        return 1 if values else 0
    return 0 if values else 1


def _find(args: argparse.Namespace) -> tuple[list[Any], list[str]]:
    """The answer as JSON values and as text."""
    if args.compare is not None:
        return _compare(args)
    if args.diff is not None:
        return _diff(args.diff)
    if args.embodied:
        return _embodied(args.words, args.basis)
    if args.equivalents:
        return _equivalents()
    return _zones(args)


def _zones(args: argparse.Namespace) -> tuple[list[Any], list[str]]:
    """One zone explained, or those that the words find."""
    from pyprof.carbon.grid import load_grid

    grid = load_grid(args.table)
    words = " ".join(args.words)
    exact = _exact(words, args) if words else None
    if exact is not None:
        return exact
    places = grid.search(words) if words else list(grid.places.values())
    if not places:
        near = ", ".join(grid.nearest(words))
        raise UnknownZoneError(
            f"no zone matches {words!r}" + (f"; nearest: {near}" if near else "")
        )
    return [_place_values(place) for place in places], list(_place_lines(places))


def _exact(words: str, args: argparse.Namespace) -> tuple[list[Any], list[str]] | None:
    """The one zone of that name, with its factor; None if it is no name."""
    from pyprof.carbon.grid import find_factor
    from pyprof.export.account import entry

    width = usable_width()
    try:
        found = find_factor(words, args.kind, args.table)
    except UnknownZoneError:
        return None
    lines = [line for label, said in _explained(found) for line in entry(label, said, width)]
    values = {**found.to_dict(), "warnings": list(found.factor.warnings())}
    return [values], lines


def _explained(found: Resolution) -> Iterator[tuple[str, str]]:
    """A factor with everything to be known of it."""
    factor, place = found.factor, found.place
    yield "zone", found.zone if place is None else f"{found.zone} ({place.name})"
    yield "factor", factor.describe()
    yield "basis", f"{factor.basis}, {factor.signal}, {factor.gases}"
    if found.substituted is not None:
        yield "note", found.substituted
    if found.beside is not None:
        yield "beside it", f"in no total: {found.beside.describe()}"
    if place is not None and place.pue is not None:
        yield "PUE", f"{place.pue:g}, not applied: {place.pue_basis}"
    if factor.note:
        yield "note", factor.note
    yield from (("warning", warning) for warning in factor.warnings())


def _place_values(place: Place) -> dict[str, Any]:
    """A zone as JSON values."""
    own = {kind: factor.to_dict() for kind, factor in place.own.items()}
    return {"zone": place.code, "name": place.name, "grid_zone": place.parent, "factors": own}


def _place_lines(places: Sequence[Place]) -> Iterator[str]:
    """Zones as a table."""
    from pyprof.export.table import Column, draw

    columns = (
        Column("zone"),
        Column("name", right=False, leave=1),
        Column("life-cycle g/kWh"),
        Column("direct g/kWh"),
        Column("year", leave=3),
        Column("grid", right=False, leave=2),
    )
    rows = [
        (
            place.code,
            place.name,
            *(f"{place.own[k].g_per_kwh:g}" if k in place.own else "" for k in _KINDS),
            " ".join(str(factor.year) for factor in place.own.values()),
            place.parent or "",
        )
        for place in places
    ]
    yield from draw(columns, rows, usable_width())


_KINDS = ("lifecycle", "direct")


def _compare(args: argparse.Namespace) -> tuple[list[Any], list[str]]:
    """One kWh in several zones."""
    from pyprof.carbon import compare
    from pyprof.export.account import zone_lines

    zones = [each for each in args.compare.split(",") if each]
    if not zones:
        raise UsageError("--compare needs zones, such as FR,DE")
    rows = compare(3.6e6, zones, kind=args.kind, table=args.table)
    return [row.to_dict() for row in rows], ["one kWh:", *zone_lines(rows, usable_width())]


def _diff(path: str) -> tuple[list[Any], list[str]]:
    """Another edition against the shipped one."""
    from pyprof.carbon.edition import diff, read_edition

    changes = list(diff(read_edition(), read_edition(path)))
    values = [
        {
            "zone": change.zone,
            "kind": change.kind,
            "before": None if change.before is None else change.before.to_dict(),
            "after": None if change.after is None else change.after.to_dict(),
        }
        for change in changes
    ]
    return values, [clean(change.text) for change in changes] or ["no difference"]


def _hung(texts: Iterable[str]) -> list[str]:
    """Texts broken to the width, each line after its first a little to the right."""
    from pyprof.export.lines import INDENT, wrap

    return [line for text in texts for line in wrap(clean(text), "", INDENT, usable_width())]


def _embodied(words: Sequence[str], basis: str | None) -> tuple[list[Any], list[str]]:
    """Manufacturing rows that hold every word; with a basis, those that can be compared."""
    from pyprof.carbon.component import load_components

    wanted = [word.casefold() for word in words]
    rows = [
        row
        for row in load_components()
        if all(word in row.name.casefold() for word in wanted)
        and basis in (None, row.basis, row.basis_class)
    ]
    lines = _hung(
        f"{row.name}: {row.kg_co2e:g} kg ({row.low_kg:g} to {row.high_kg:g}) {row.unit}, "
        f"{row.basis}{', default' if row.preferred else ''}; {row.scope}; {row.source}, {row.year}"
        for row in rows
    )
    return [row.to_dict() for row in rows], lines or ["no hardware matches"]


def _equivalents() -> tuple[list[Any], list[str]]:
    """The everyday equivalents."""
    from pyprof.carbon.equivalents import load_equivalences

    rows = [row for row in load_equivalences().values() if row.kg_per_unit is not None]
    values = [
        {
            "id": row.id,
            "name": row.name,
            "unit": row.unit,
            "kg_per_unit": row.kg_per_unit,
            "year": row.year,
            "verified": row.verified,
            "source": row.source,
            "licence": row.licence,
            "note": row.note,
        }
        for row in rows
    ]
    lines = _hung(
        f"{row.id}: {row.kg_per_unit:g} kg per {row.unit}, {row.name}; {row.source}, {row.year}"
        + (" (implied by a published result)" if row.is_implied else "")
        + (" (not re-read at its source)" if row.verified == "no" else "")
        for row in rows
    )
    return values, lines
