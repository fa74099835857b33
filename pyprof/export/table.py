"""A table in plain text that fits a width: the first column gives way, then whole columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pyprof.export.terminal import shorten, text_width

_GAP = "  "
_NAME_WIDTH = 22
_LEAST_NAME = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A head, its side, and how early it is left out where there is no room (0: never).

    With ``point`` the figures stand with their decimal points below each other.
    """

    title: str
    right: bool = True
    leave: int = 0
    point: bool = False


def draw(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    width: int,
    name_width: int = _NAME_WIDTH,
) -> list[str]:
    """Head and rows, each at most ``width`` columns wide. Empty columns are left out.

    The first column is cut to ``name_width`` before another one is left out.
    """
    rows = _align_points(columns, rows)
    kept = [index for index in range(len(columns)) if index == 0 or any(row[index] for row in rows)]
    sizes = [
        max(text_width(line[index]) for line in (_titles(columns), *rows))
        for index in range(len(columns))
    ]
    name_need = max(_LEAST_NAME, min(sizes[0], name_width))
    while _used(sizes, kept) + name_need > width and (spare := _next_to_leave(columns, kept)):
        kept.remove(spare)
    sizes[0] = max(_LEAST_NAME, min(sizes[0], width - _used(sizes, kept)))
    return [_line(columns, kept, sizes, row) for row in (_titles(columns), *rows)]


def _align_points(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows whose figures are padded behind their decimal points."""
    aligned = [list(row) for row in rows]
    for index, column in enumerate(columns):
        if column.point:
            behind = max((_places(row[index]) for row in aligned), default=0)
            for row in aligned:
                row[index] += " " * (behind - _places(row[index])) if row[index] else ""
    return aligned


def _places(text: str) -> int:
    """Columns from the decimal point on."""
    return len(text) - text.index(".") if "." in text else 0


def _titles(columns: Sequence[Column]) -> list[str]:
    """The head row."""
    return [column.title for column in columns]


def _used(sizes: Sequence[int], kept: Sequence[int]) -> int:
    """Columns that all but the first take, gaps included."""
    return sum(sizes[index] + len(_GAP) for index in kept[1:])


def _next_to_leave(columns: Sequence[Column], kept: Sequence[int]) -> int | None:
    """The kept column that is missed least."""
    spare = [index for index in kept if columns[index].leave]
    return min(spare, key=lambda index: columns[index].leave, default=None)


def _line(
    columns: Sequence[Column], kept: Sequence[int], sizes: Sequence[int], row: Sequence[str]
) -> str:
    """One row, padded by what is seen, not by what is counted."""
    cells = []
    for index in kept:
        text = shorten(row[index], sizes[index])
        pad = " " * (sizes[index] - text_width(text))
        cells.append(pad + text if columns[index].right and index else text + pad)
    return _GAP.join(cells).rstrip()


def with_units(columns: Sequence[Column], units: Mapping[str, str]) -> list[Column]:
    """Columns whose heads name their unit."""
    return [
        replace(column, title=f"{column.title} {units.get(column.title, '')}".rstrip())
        for column in columns
    ]
