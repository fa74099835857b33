"""Checking a table of factors and holding two editions of it against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyprof.carbon.factor import Factor
from pyprof.carbon.grid import GRID_COLUMNS, grid_factor
from pyprof.carbon.table import data_path, read_rows
from pyprof.errors import UsageError

Key = tuple[str, str]
# A year's change beyond this is more often an error of the table than of the grid.
LARGE_CHANGE = 0.25


@dataclass(frozen=True, slots=True)
class Change:
    """One zone and kind in two editions; None where an edition has no such row."""

    zone: str
    kind: str
    before: Factor | None
    after: Factor | None

    @property
    def relative(self) -> float | None:
        """Change of the value as a fraction of the old one."""
        if self.before is None or self.after is None or self.before.g_per_kwh == 0.0:
            return None
        return self.after.g_per_kwh / self.before.g_per_kwh - 1.0

    @property
    def text(self) -> str:
        """One line."""
        label = f"{self.zone} {self.kind}"
        if self.after is None:
            return f"{label}: dropped ({_value(self.before)})"
        if self.before is None:
            return f"{label}: new ({_value(self.after)})"
        relative = self.relative
        by = "" if relative is None else f", {relative:+.1%}"
        flag = " LARGE" if relative is not None and abs(relative) > LARGE_CHANGE else ""
        return f"{label}: {_value(self.before)} -> {_value(self.after)}{by}{flag}"


def read_edition(path: str | None = None) -> Mapping[Key, Factor]:
    """The factors of a table, by zone and kind; the shipped one without a path."""
    table: dict[Key, Factor] = {}
    for row in read_rows(path or data_path("grid_factors.csv"), GRID_COLUMNS):
        factor = grid_factor(row)
        key = (factor.zone or "", factor.kind)
        if key in table:
            raise UsageError(f"{row.where}: zone {key[0]!r} has two rows of the kind {key[1]!r}")
        table[key] = factor
    return table


def diff(before: Mapping[Key, Factor], after: Mapping[Key, Factor]) -> Iterator[Change]:
    """What differs between two editions, zone by zone."""
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old != new:
            yield Change(*key, old, new)


def _value(factor: Factor | None) -> str:
    """Value, year and source of a factor."""
    if factor is None:
        return "none"
    return f"{factor.g_per_kwh:g} g/kWh, {factor.year}, {factor.source}"
