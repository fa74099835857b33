"""How many rows a recording must have, so that a lost one is named and not just absent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KEY = "tally"


@dataclass(slots=True)
class Tally:
    """Changes per channel index, rows of marks per process, events."""

    changes: dict[int, int] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    events: int = 0
    gaps: int = 0

    def add_changes(self, channel: int, first_seq: int, count: int) -> None:
        """The next changes of a channel; a number that does not follow is a gap."""
        expected = self.changes.get(channel, 0)
        self.gaps += abs(first_seq - expected)
        self.changes[channel] = first_seq + count

    def add_marks(self, process: int, seq: int) -> None:
        """The next row of a process' marks."""
        expected = self.marks.get(process, 0)
        self.gaps += abs(seq - expected)
        self.marks[process] = seq + 1

    def to_text(self) -> str:
        """As the recording keeps it."""
        return json.dumps({"changes": self.changes, "marks": self.marks, "events": self.events})

    @classmethod
    def parse(cls, text: str) -> Tally | None:
        """What ``to_text`` wrote; None if that is damaged."""
        try:
            kept = json.loads(text)
            return cls(_counts(kept["changes"]), _counts(kept["marks"]), int(kept["events"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def defects(self, text: str | None) -> Iterable[str]:
        """What is missing: in between, and up to the counts that were kept at the end."""
        if self.gaps:
            yield f"{self.gaps} changes or rows of stages are missing in between"
        if text is None:
            return
        kept = Tally.parse(text)
        if kept is None:
            yield "the counts of its rows are damaged, so that a loss could not be noticed"
            return
        if self.changes != kept.changes:
            yield "readings at its end or of a whole channel are missing"
        if self.marks != kept.marks:
            yield "stages at its end or of a whole process are missing"
        if self.events != kept.events:
            yield "events are missing"


def _counts(found: Mapping[str, int]) -> dict[int, int]:
    return {int(key): int(value) for key, value in found.items()}
