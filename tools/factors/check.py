#!/usr/bin/env python3
"""Validates the shipped tables, lists what is doubtful in them, and diffs a new edition.

    python tools/factors/check.py                       validate; list doubtful rows by reason
    python tools/factors/check.py --edition NEW.csv     also what a new grid table would change
    python tools/factors/check.py --strict              doubtful rows are a finding as well

Exit status: 0 valid, 1 a finding, 2 a table that can't be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from pyprof.carbon.edition import diff, read_edition  # noqa: E402
from pyprof.carbon.grid import load_grid  # noqa: E402
from pyprof.carbon.table import Row, read_rows  # noqa: E402
from pyprof.errors import PyprofError  # noqa: E402

CARBON = ROOT / "pyprof" / "carbon" / "data"
TABLES: dict[str, tuple[Path, str]] = {
    "grid_factors.csv": (CARBON / "grid_factors.csv", "zone"),
    "cloud_regions.csv": (CARBON / "cloud_regions.csv", "region"),
    "embodied.csv": (CARBON / "embodied.csv", "component"),
    "equivalences.csv": (CARBON / "equivalences.csv", "id"),
    "generation_factors.csv": (CARBON / "generation_factors.csv", "source_id"),
    "device_power.csv": (ROOT / "pyprof" / "data" / "device_power.csv", "model"),
}
YEAR_SAID = ("year unknown", "launch year not in that list", "without a year")
FAR_FROM_TABLE_G = (1.0, 1200.0)


@dataclass(frozen=True)
class Finding:
    """A row of a table and what is wrong or doubtful about it."""

    table: str
    row: str
    text: str


def each_row() -> Iterator[tuple[str, str, Row]]:
    for name, (path, key) in TABLES.items():
        for row in read_rows(str(path), (key, "source", "licence", "year")):
            yield name, row.required(key), row


def errors() -> Iterator[Finding]:
    for name, label, row in each_row():
        for column in ("source", "licence"):
            if not row.text(column):
                yield Finding(name, label, f"the {column} is empty")
        said = row.text("source") + row.text("note")
        if row.year() is None and not any(reason in said for reason in YEAR_SAID):
            yield Finding(name, label, "the year is empty and the row does not say why")
    yield from grid_errors()
    yield from cloud_errors()
    yield from embodied_errors()


def grid_errors() -> Iterator[Finding]:
    low, high = FAR_FROM_TABLE_G
    for (zone, kind), factor in read_edition().items():
        if not low <= factor.g_per_kwh <= high and "flag" not in factor.note:
            yield Finding("grid_factors.csv", f"{zone} {kind}", f"{factor.g_per_kwh:g} g/kWh")


def cloud_errors() -> Iterator[Finding]:
    places = load_grid().places
    for row in read_rows(str(TABLES["cloud_regions.csv"][0]), ("provider", "region", "grid_zone")):
        label = f"{row.text('provider')}:{row.text('region')}"
        zone = places.get(row.required("grid_zone"))
        if zone is None:
            yield Finding("cloud_regions.csv", label, f"no zone {row.text('grid_zone')!r}")
        elif row.text("source").startswith("zone mapping"):
            values = [factor.g_per_kwh for factor in zone.own.values()]
            if row.number("gCO2e_per_kWh") not in values:
                yield Finding("cloud_regions.csv", label, f"differs from its zone {zone.code}")


def embodied_errors() -> Iterator[Finding]:
    for row in read_rows(str(TABLES["embodied.csv"][0]), ("component", "kgCO2e", "low", "high")):
        low, kg, high = (row.number(column) for column in ("low", "kgCO2e", "high"))
        if not low <= kg <= high:
            yield Finding("embodied.csv", row.text("component"), "low <= kgCO2e <= high fails")


def licence_doubt(row: Row) -> bool:
    return "second hand" in row.text("note") or "check b" in row.text("licence")


def reading_doubt(row: Row) -> bool:
    marks = (row.text("verified"), row.text("cross_checked"))
    unread = ("read its table before", "to be re-read", "not re-read", "not recorded")
    said = row.text("source") + row.text("note")
    return " via " in row.text("source") or "no" in marks or any(mark in said for mark in unread)


DOUBTS: dict[str, Callable[[Row], bool]] = {
    "licence not confirmed at its origin": licence_doubt,
    "source not re-read": reading_doubt,
}


def doubts() -> Iterator[Finding]:
    for name, label, row in each_row():
        for text, holds in DOUBTS.items():
            if holds(row):
                yield Finding(name, label, text)


def print_doubts(found: list[Finding]) -> None:
    groups: dict[tuple[str, str], list[str]] = {}
    for finding in found:
        groups.setdefault((finding.text, finding.table), []).append(finding.row)
    for (text, table), rows in groups.items():
        print(f"{text}: {table}, {len(rows)} rows: {', '.join(rows)}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Validate, list and diff the tables of factors.")
    parser.add_argument("--edition", metavar="CSV", help="a new edition of grid_factors.csv")
    parser.add_argument("--strict", action="store_true", help="doubtful rows are a finding too")
    args = parser.parse_args()
    try:
        wrong, doubtful = list(errors()), list(doubts())
        changes = list(diff(read_edition(), read_edition(args.edition))) if args.edition else []
    except PyprofError as error:
        print(error, file=sys.stderr)
        return 2
    for finding in wrong:
        print(f"WRONG {finding.table}, {finding.row}: {finding.text}")
    print_doubts(doubtful)
    for change in changes:
        print(change.text)
    print(f"{len(wrong)} wrong, {len(doubtful)} doubtful, {len(changes)} changed")
    return 1 if wrong or changes or (args.strict and doubtful) else 0


if __name__ == "__main__":
    sys.exit(main())
