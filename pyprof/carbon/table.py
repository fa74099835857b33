"""Reading the tables: CSV with comment lines, every complaint with file and line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyprof.carbon.units import require_number
from pyprof.errors import UsageError

_DATA = os.path.join(os.path.dirname(__file__), "data")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, with where it stands."""

    cells: Mapping[str, str]
    where: str

    def text(self, column: str) -> str:
        """The cell as text; an absent column is empty."""
        return self.cells.get(column, "")

    def required(self, column: str) -> str:
        """The cell as text that may not be empty."""
        text = self.text(column)
        if not text:
            raise UsageError(f"{self.where}: the column {column!r} is empty")
        return text

    def number(self, column: str, *, low: float = 0.0) -> float:
        """The cell as a finite number of at least ``low``."""
        text = self.required(column)
        try:
            value = float(text)
        except ValueError:
            raise UsageError(f"{self.where}: {column} is not a number: {text!r}") from None
        return require_number(value, f"{self.where}: {column}", low=low)

    def optional_number(self, column: str) -> float | None:
        """The cell as a number; empty is unknown."""
        return self.number(column) if self.text(column) else None

    def year(self, column: str = "year") -> int | None:
        """The cell as a year; empty is unknown."""
        text = self.text(column)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and 1900 <= int(text) <= 2100):
            raise UsageError(f"{self.where}: {column} is not a year: {text!r}")
        return int(text)


def data_path(name: str) -> str:
    """Where a shipped table lies."""
    return os.path.join(_DATA, name)


def read_text(path: str) -> str:
    """A whole text file, or one sentence that says why not."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path}: can't be read: {reason}") from None


def read_rows(path: str, required: Sequence[str]) -> list[Row]:
    """All rows of a table that has at least the ``required`` columns."""
    return list(parse_rows(read_text(path), path, required))


def parse_rows(text: str, path: str, required: Sequence[str]) -> Iterator[Row]:
    """The rows of a table given as text; ``path`` is for complaints."""
    import csv

    numbered = _content_lines(text)
    reader = csv.reader((line for _, line in numbered), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            where = f"{path}, line {_line_of(numbered, reader.line_num)}"
            if header is None:
                header = _check_header(cells, where, required)
            else:
                yield Row(_as_mapping(header, cells, where), where)
    except csv.Error as error:
        where = f"{path}, line {_line_of(numbered, reader.line_num)}"
        raise UsageError(f"{where}: not valid CSV: {error}") from None
    if header is None:
        raise UsageError(f"{path}: empty: a header line with {', '.join(required)} is needed")


def _content_lines(text: str) -> list[tuple[int, str]]:
    """Lines with their numbers, without comments and blank lines."""
    return [
        (number, line)
        for number, line in enumerate(text.splitlines(keepends=True), start=1)
        if line.strip() and not line.startswith("#")
    ]


def _line_of(numbered: list[tuple[int, str]], position: int) -> int:
    """The line number in the file of the ``position``-th content line."""
    return numbered[min(max(position, 1), len(numbered)) - 1][0]


def _check_header(cells: list[str], where: str, required: Sequence[str]) -> list[str]:
    """The header, if it names every required column once."""
    header = [cell.strip() for cell in cells]
    missing = [column for column in required if column not in header]
    if missing:
        raise UsageError(f"{where}: the header lacks the column {missing[0]!r}")
    if len(set(header)) != len(header):
        raise UsageError(f"{where}: the header names a column twice")
    return header


def _as_mapping(header: list[str], cells: list[str], where: str) -> dict[str, str]:
    """One row by column name."""
    if len(cells) != len(header):
        raise UsageError(f"{where}: {len(cells)} cells where the header has {len(header)}")
    return {column: cell.strip() for column, cell in zip(header, cells, strict=True)}
