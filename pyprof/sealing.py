"""How readings of the tail become sealed blocks and roll-ups, and old ones are given up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pyprof import _native
from pyprof.container import insert
from pyprof.host import NS_PER_S
from pyprof.layout import (
    BLOCK_BYTES,
    BLOCK_CHANGES,
    MOST_CHANGES,
    MOST_IN_PAGE,
    Block,
    Incident,
    block_row,
    incident_row,
    pack,
    rollup_row,
    split_frames,
)
from pyprof.rollups import Ladder
from pyprof.tally import Tally

_FILL = 0.97  # of a block's room: the bytes of the next changes are not known
_LEAST_CHANGES = 256
_AGE_NS = 15 * 60 * NS_PER_S
#: Findings of one kind and channel that keep their own row; later ones share one a block.
_MOST_FINDINGS = 100

#: Channel, first number, changes, first stamp and last reading of a frame.
Info = tuple[int, int, int, int, int]


@dataclass(slots=True)
class Sealer:
    """What waits in the tail, and how far each channel's roll-ups have come.

    A copy takes part in a transaction and replaces the original when that is committed.
    """

    keep_raw_ns: int | None = None
    #: Changes in the tail and the time of the first, by channel.
    pending: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: Changes that will fill a block, by channel.
    targets: dict[int, int] = field(default_factory=dict)
    ladders: dict[int, Ladder] = field(default_factory=dict)
    found: dict[tuple[int, str], int] = field(default_factory=dict)

    def copy(self) -> Sealer:
        """One that can be changed without this one."""
        return replace(
            self,
            pending=dict(self.pending),
            targets=dict(self.targets),
            ladders=dict(self.ladders),
            found=dict(self.found),
        )

    def begin(self, channels: Sequence[_native.Channel], start_ns: int) -> None:
        """Roll-ups count from ``start_ns``."""
        self.ladders = {i: Ladder(i, c, start_ns, start_ns) for i, c in enumerate(channels)}

    def add(self, infos: Iterable[Info]) -> None:
        """Frames that are now in the tail."""
        for channel, _, count, first_ns, _ in infos:
            waiting, since_ns = self.pending.get(channel, (0, first_ns))
            self.pending[channel] = (waiting + count, since_ns)

    def is_due(self, now_ns: int) -> bool:
        """Whether a channel fills a block, or has waited for long."""
        return any(
            count >= self._target(channel) or now_ns - since_ns > _AGE_NS
            for channel, (count, since_ns) in self.pending.items()
        )

    def _target(self, channel: int) -> int:
        return self.targets.get(channel, BLOCK_CHANGES)

    def seal(
        self, connection: sqlite3.Connection, now_ns: int, tally: Tally, *, last: bool = False
    ) -> None:
        """Tail rows into blocks of the channels that have enough; the rest waits on."""
        data = b"".join(row[0] for row in connection.execute("SELECT data FROM tail ORDER BY seq"))
        connection.execute("DELETE FROM tail")
        self.pending = {}
        sealed: dict[int, list[bytes]] = {}
        for parts in self._parts(data):
            for number, frame in enumerate(parts, 1):
                infos = _native.frame_info(frame)
                channel, _, count, first_ns, _ = infos[0]
                old = now_ns - first_ns > _AGE_NS // 2
                # No block may come before changes that wait on.
                followed = number < len(parts)
                if followed or last or old or count >= self._target(channel):
                    size = insert_blocks(connection, frame)
                    sealed.setdefault(channel, []).append(frame)
                    self._learn(channel, count, size)
                else:
                    connection.execute("INSERT INTO tail VALUES(NULL,?,?)", (now_ns, frame))
                    self.add(infos)
        self._roll_up(connection, sealed, now_ns, tally, last=last)
        if self.keep_raw_ns is not None and not last:
            self._thin(connection, now_ns - self.keep_raw_ns, tally)

    def _parts(self, data: bytes) -> Iterator[Sequence[bytes]]:
        """The frames of the tail joined: of each channel, in order, parts that fill a block."""
        channels: dict[int, list[bytes]] = {}
        for frame in split_frames(_native.join_frames(data, MOST_CHANGES)):
            channels.setdefault(_native.frame_info(frame)[0][0], []).append(frame)
        for channel, frames in channels.items():
            joined = _native.join_frames(b"".join(frames), self._target(channel))
            yield tuple(split_frames(joined))

    def _learn(self, channel: int, count: int, size: int) -> None:
        if count >= _LEAST_CHANGES:
            filling = int(count * _FILL * BLOCK_BYTES / size)
            self.targets[channel] = min(max(filling, _LEAST_CHANGES), MOST_CHANGES)

    def _roll_up(
        self,
        connection: sqlite3.Connection,
        sealed: Mapping[int, Sequence[bytes]],
        now_ns: int,
        tally: Tally,
        *,
        last: bool,
    ) -> None:
        for index in self.ladders if last else sealed:
            ladder = self.ladders.get(index)
            if ladder is None:
                continue
            climbed = ladder.climb(sealed.get(index, ()), now_ns, last=last)
            self.ladders[index], rollups, findings = climbed
            insert(connection, "rollup", [rollup_row(rollup) for rollup in rollups])
            self._insert_findings(connection, findings, tally)

    def _insert_findings(
        self, connection: sqlite3.Connection, findings: Sequence[Incident], tally: Tally
    ) -> None:
        kept: list[Incident] = []
        for finding in findings:
            known = self.found.get((finding.channel, finding.kind), 0)
            self.found[finding.channel, finding.kind] = known + 1
            if known >= _MOST_FINDINGS and kept and kept[-1].kind == finding.kind:
                kept[-1] = replace(kept[-1], count=kept[-1].count + finding.count)
            else:
                kept.append(finding)
        rows = [incident_row(number, each) for number, each in enumerate(kept, tally.findings)]
        insert(connection, "finding", rows)
        tally.findings += len(kept)

    def _thin(self, connection: sqlite3.Connection, until_ns: int, tally: Tally) -> None:
        """Give up blocks whose whole time stands in roll-ups."""
        for index, ladder in self.ladders.items():
            # A border needs readings on both sides of it: the block across it stays.
            before_ns = min(until_ns, ladder.from_ns)
            row = connection.execute(
                "SELECT max(id),max(first_seq+count) FROM block WHERE channel=? AND last_ns<?",
                (index, before_ns),
            ).fetchone()
            if row[0] is None:
                continue
            connection.execute(
                "DELETE FROM block_data WHERE id IN"
                " (SELECT id FROM block WHERE channel=? AND id<=?)",
                (index, row[0]),
            )
            connection.execute("DELETE FROM block WHERE channel=? AND id<=?", (index, row[0]))
            tally.thinned[index] = row[1]


def insert_blocks(connection: sqlite3.Connection, frame: bytes) -> int:
    """A sealed frame as one block, or as several where one would not fit a page; their bytes."""
    size = 0
    for channel, first_seq, count, first_ns, last_ns in _native.frame_info(frame):
        data = pack(frame, channel)
        if len(data) > MOST_IN_PAGE and count > 1:
            parts = split_frames(_native.join_frames(frame, (count + 1) // 2))
            return sum(insert_blocks(connection, part) for part in parts)
        number = connection.execute("SELECT coalesce(max(id),0)+1 FROM block").fetchone()[0]
        block = Block(number, channel, first_seq, count, first_ns, last_ns)
        insert(connection, "block", [block_row(block)])
        connection.execute("INSERT INTO block_data VALUES(?,?)", (number, data))
        size += len(data)
    return size
