"""How many rows a recording must have, so that a lost one is named and not just absent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

KEY = "tally"


@dataclass(slots=True)
class Tally:
    """Changes per channel index, rows of marks per process, events, findings, other rows."""

    changes: dict[int, int] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    events: int = 0
    findings: int = 0
    #: Rows of the tables that hardly grow.
    rows: dict[str, int] = field(default_factory=dict)
    #: Changes of each channel, from the first, that were given up on purpose.
    thinned: dict[int, int] = field(default_factory=dict)
    gaps: int = 0

    def copy(self) -> Tally:
        """One that can be changed without this one."""
        return replace(
            self,
            changes=dict(self.changes),
            marks=dict(self.marks),
            rows=dict(self.rows),
            thinned=dict(self.thinned),
        )

    def add_changes(self, channel: int, first_seq: int, count: int) -> None:
        """The next changes of a channel; a number that does not follow is a gap."""
        expected = self.changes.get(channel, self.thinned.get(channel, 0))
        self.gaps += abs(first_seq - expected)
        self.changes[channel] = first_seq + count

    def add_marks(self, process: int, seq: int) -> None:
        """The next row of a process' marks."""
        expected = self.marks.get(process, 0)
        self.gaps += abs(seq - expected)
        self.marks[process] = seq + 1

    def to_text(self) -> str:
        """As the recording keeps it."""
        kept = {
            "changes": self.changes,
            "marks": self.marks,
            "events": self.events,
            "findings": self.findings,
            "rows": self.rows,
            "thinned": self.thinned,
        }
        return json.dumps(kept, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Tally | None:
        """What ``to_text`` wrote, now or in schema 1; None if that is damaged."""
        try:
            kept = json.loads(text)
            return cls(
                _counts(kept["changes"]),
                _counts(kept["marks"]),
                int(kept["events"]),
                int(kept.get("findings", 0)),
                {str(key): int(value) for key, value in kept.get("rows", {}).items()},
                _counts(kept.get("thinned", {})),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def defects(self, kept: Tally | None, *, damaged: bool = False) -> Iterable[str]:
        """What is missing: in between, and up to the counts that were ``kept``, if any were."""
        if self.gaps:
            yield f"{self.gaps} changes or rows of stages are missing in between"
        if damaged:
            yield "the counts of its rows are damaged, so that a loss could not be noticed"
        if kept is None:
            return
        if _differ(self.changes, kept.changes):
            yield "readings at its end or of a whole channel are missing"
        if _differ(self.marks, kept.marks):
            yield "stages at its end or of a whole process are missing"
        if self.events != kept.events:
            yield "events are missing"
        if self.findings != kept.findings:
            yield "gaps, wraps or resets that were found are missing"
        for table, number in kept.rows.items():
            if self.rows.get(table) != number:
                yield f"rows of the table {table} are missing"


def _differ(found: Mapping[int, int], kept: Mapping[int, int]) -> bool:
    """Whether a number that is not 0 differs."""
    return any(found.get(key, 0) != kept.get(key, 0) for key in {*found, *kept})


def _counts(found: Mapping[str, Any]) -> dict[int, int]:
    return {int(key): int(value) for key, value in found.items()}
