"""Where a recording's sealed readings and roll-ups lie until a report needs them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from pyprof import rows
from pyprof.errors import RecordingError
from pyprof.layout import Block, Rollup

#: A connection for as long as the context is entered.
Session = Callable[[], AbstractContextManager[sqlite3.Connection]]

#: Channel, grain in seconds, from and to in ns.
Range = tuple[int, int, int, int]


class Shelf(Protocol):
    """Sealed frames by their header, and roll-ups by channel, grain and time."""

    def frames(self, blocks: Sequence[Block]) -> Iterator[bytes | None]:
        """The frame of each block; None for one that is damaged or gone."""

    def rollups(self, ranges: Sequence[Range]) -> Sequence[Rollup]:
        """Those that begin within one of the ranges; damaged ones are left out."""


@dataclass(frozen=True, slots=True)
class MemoryShelf:
    """All of a short recording."""

    by_id: Mapping[int, bytes]
    rolled: Sequence[Rollup] = ()

    def frames(self, blocks: Sequence[Block]) -> Iterator[bytes | None]:
        """The frame of each block; None for one that is damaged or gone."""
        return (self.by_id.get(block.id) for block in blocks)

    def rollups(self, ranges: Sequence[Range]) -> Sequence[Rollup]:
        """Those that begin within one of the ranges; damaged ones are left out."""
        return [
            rollup
            for rollup in self.rolled
            for channel, grain_s, from_ns, to_ns in ranges
            if (rollup.channel, rollup.grain_s) == (channel, grain_s)
            and from_ns <= rollup.start_ns < to_ns
        ]


@dataclass(frozen=True, slots=True)
class FileShelf:
    """A long recording, read where it lies."""

    session: Session
    version: int

    def frames(self, blocks: Sequence[Block]) -> Iterator[bytes | None]:
        """The frame of each block; None for one that is damaged or gone.

        The file is open for a moment at a time, so that no writer waits for a reader.
        """
        wanted = iter(blocks)
        while part := list(islice(wanted, 256)):
            yield from self._part(part)

    def _part(self, blocks: Sequence[Block]) -> list[bytes | None]:
        try:
            with self.session() as connection:
                return [rows.frame_of(connection, block) for block in blocks]
        except RecordingError:
            return [None] * len(blocks)

    def rollups(self, ranges: Sequence[Range]) -> Sequence[Rollup]:
        """Those that begin within one of the ranges; damaged ones are left out."""
        try:
            with self.session() as connection:
                reader = rows.Reader(connection, self.version)
                return [row for each in ranges for row in reader.rows(rows.ROLLUPS, *each)]
        except RecordingError:
            return ()
