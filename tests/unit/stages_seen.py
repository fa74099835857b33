"""What an account sees of the stages that a test enters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pyprof import _native


@dataclass(frozen=True)
class Row:
    path: str
    phase: str
    count: int
    duration_s: float
    wall_s: float
    cut: bool


class Seen:
    """Logs the stages of a ``with`` block; ``rows`` are then the account's, without the root."""

    def __init__(self, phase: str = "training") -> None:
        self.phase = phase
        self.marks: list[bytes] = []
        self.rows: list[Row] = []

    def __enter__(self) -> Seen:
        self.start_ns = time.monotonic_ns()
        _native.start_marks(self.phase)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        _native.stop_marks()
        self.drain()
        self.rows = rows_of(self.marks, self.start_ns, time.monotonic_ns(), self.phase)

    def drain(self) -> int:
        """Takes the marks so far, as the writer of a recording does; their size in bytes."""
        marks = _native.drain_marks()
        self.marks.append(marks)
        return len(marks)

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row.path] = counts.get(row.path, 0) + row.count
        return counts

    @property
    def paths(self) -> set[str]:
        return set(self.counts)

    @property
    def phases(self) -> set[tuple[str, str]]:
        return {(row.path, row.phase) for row in self.rows}

    def __getitem__(self, path: str) -> Row:
        (row,) = (row for row in self.rows if row.path == path)
        return row


def rows_of(marks: list[bytes], start_ns: int, end_ns: int, phase: str) -> list[Row]:
    account = _native.Account([], start_ns, end_ns, phase)
    account.add_marks(0, b"".join(marks))
    solved: dict[str, Any] = account.solve()
    assert solved["damaged_bytes"] == 0
    return [
        Row(**{name: row[name] for name in Row.__dataclass_fields__})
        for row in solved["stages"]
        if row["path"]
    ]
