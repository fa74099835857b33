"""Which readings and which roll-ups an account of a part of a recording rests on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyprof import _native
from pyprof.host import NS_PER_S
from pyprof.layout import SHORT_CHANGES, Block, Incident, Rollup
from pyprof.rollups import GRAINS_S

if TYPE_CHECKING:
    from pyprof.recording import Recording

_MINUTE_NS = GRAINS_S[0] * NS_PER_S
_LONGEST_FIRST_S = GRAINS_S[::-1]
_LEAST_MARGIN_NS = 5 * NS_PER_S
#: Changes that a curve looks at beyond a moment, and some more.
_CONTEXT = 8

#: (from_ns, to_ns, energy_j, peak_w, covered_s, lost_j, variance_j2)
Roll = tuple[int, int, float | None, float | None, float, float, float]
Span = tuple[int, int]


@dataclass(slots=True)
class Selection:
    """What an account takes in, and what is to be said of it."""

    frames: list[bytes] = field(default_factory=list)
    rolls: dict[int, list[Roll]] = field(default_factory=dict)
    findings: list[Incident] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)


def select(recording: Recording, times_ns: Sequence[int]) -> Selection:
    """All readings of a short recording; of a long one those around ``times_ns``.

    ``times_ns``: every moment at which something begins or ends, sorted, the account's own
    beginning and end among them. Between, roll-ups stand for the readings.
    """
    changes = sum(block.count for block in recording.blocks)
    if changes <= SHORT_CHANGES and not recording.thinned:
        return _read(recording, recording.blocks)
    return _Planner(recording, times_ns).select()


def _read(
    recording: Recording, blocks: Sequence[Block], needed: Mapping[int, Span] | None = None
) -> Selection:
    """``needed``: of a block by its number, the time that is wanted; None: all of each."""
    chosen = Selection()
    lost = 0
    for block, frame in zip(blocks, recording.shelf.frames(blocks), strict=True):
        if frame is None:
            lost += 1
        elif needed is None:
            chosen.frames.append(frame)
        else:
            chosen.frames.append(_native.cut_frames(frame, *needed[block.id], _CONTEXT))
    chosen.frames += recording.tail
    if lost:
        chosen.defects.append(f"{lost} damaged or missing blocks of readings were left out")
    return chosen


class _Track:
    """One channel's blocks and the time that its roll-ups shall stand for."""

    def __init__(
        self, recording: Recording, index: int, blocks: Iterable[Block], times_ns: Sequence[int]
    ) -> None:
        self.index = index
        self.origin_ns = recording.start_ns
        self.blocks = sorted(blocks, key=lambda block: block.first_seq)
        self.raw_from_ns = self._raw_from(index in recording.thinned)
        self.islands = list(_merge(self._around(times_ns)))
        self.end_ns = times_ns[-1]

    def _raw_from(self, thinned: bool) -> int:
        """From which minute on readings are all there; before it, roll-ups alone."""
        if not thinned:
            return self.origin_ns
        if not self.blocks:
            return 1 << 62
        first = self.blocks[0]
        return self._ceil(first.first_ns + self._spacing([first]) * _CONTEXT)

    def _spacing(self, blocks: Sequence[Block]) -> int:
        """Mean time between changes."""
        count = sum(block.count for block in blocks)
        if not blocks or count < 2:
            return 0
        return (blocks[-1].last_ns - blocks[0].first_ns) // count

    def _around(self, times_ns: Sequence[int]) -> Iterator[Span]:
        margin_ns = max(_LEAST_MARGIN_NS, _CONTEXT * self._spacing(self.blocks))
        for t_ns in times_ns:
            yield self._floor(t_ns - margin_ns), self._ceil(t_ns + margin_ns)

    def _floor(self, t_ns: int) -> int:
        return t_ns - (t_ns - self.origin_ns) % _MINUTE_NS

    def _ceil(self, t_ns: int) -> int:
        return t_ns + (self.origin_ns - t_ns) % _MINUTE_NS

    def rolled(self) -> Iterator[Span]:
        """What roll-ups shall stand for: between the islands, and all before the readings."""
        at_ns = self.islands[0][0]
        if at_ns < self.raw_from_ns:
            # The edge's own minute is a roll-up as well.
            at_ns = max(at_ns, self.origin_ns)
        for from_ns, to_ns in self.islands:
            begins_ns = max(from_ns, min(to_ns, self.raw_from_ns))
            if begins_ns > at_ns:
                yield at_ns, min(begins_ns, self._ceil(self.end_ns))
            at_ns = max(to_ns, at_ns)

    def near(self, from_ns: int, to_ns: int) -> Sequence[Block]:
        """Blocks with readings between two moments, and enough before and after."""
        last = bisect_left(self.blocks, from_ns, key=lambda block: block.last_ns)
        beyond = bisect_right(self.blocks, to_ns, key=lambda block: block.first_ns)
        early = late = 0
        while last > 0 and early < _CONTEXT:
            last -= 1
            early += self.blocks[last].count
        while beyond < len(self.blocks) and late < _CONTEXT:
            late += self.blocks[beyond].count
            beyond += 1
        return self.blocks[last:beyond]


class _Planner:
    def __init__(self, recording: Recording, times_ns: Sequence[int]) -> None:
        self.recording = recording
        blocks: dict[int, list[Block]] = {}
        for block in recording.blocks:
            blocks.setdefault(block.channel, []).append(block)
        self.tracks = [
            _Track(recording, i, blocks.get(i, ()), times_ns)
            for i in range(len(recording.channels))
        ]
        self.tracks = [t for t in self.tracks if t.blocks or t.index in recording.thinned]
        self.known: dict[tuple[int, int, int], Rollup] = {}

    def select(self) -> Selection:
        spans = {track.index: list(track.rolled()) for track in self.tracks}
        for longer, grain_s in enumerate(_LONGEST_FIRST_S):
            # Only where none of the longer ones stands.
            self._fetch(
                (index, grain_s, from_ns, to_ns)
                for index, rolled in spans.items()
                for span in rolled
                for from_ns, to_ns in self._without(index, span, _LONGEST_FIRST_S[:longer])
            )
        blocks: dict[int, Block] = {}
        needed: dict[int, Span] = {}
        rolls: dict[int, list[Roll]] = {}
        defects = []
        for track in self.tracks:
            tiles, holes = self._lay(track, spans[track.index])
            rolls[track.index] = [_roll(tile) for tile in tiles]
            lost = [span for span in holes if span[0] < track.raw_from_ns]
            if lost:
                lost_s = sum(to_ns - from_ns for from_ns, to_ns in lost) / NS_PER_S
                channel = self.recording.channels[track.index].id
                defects.append(f"{lost_s:.0f} s of roll-ups of {channel} are missing")
            for from_ns, to_ns in self._raw(track, tiles):
                for block in track.near(from_ns, to_ns):
                    blocks[block.id] = block
                    before = needed.get(block.id, (from_ns, to_ns))
                    needed[block.id] = min(before[0], from_ns), max(before[1], to_ns)
        ordered = sorted(blocks.values(), key=lambda block: block.id)
        chosen = _read(self.recording, ordered, needed)
        chosen.rolls = rolls
        chosen.defects += defects
        chosen.findings = [f for f in self.recording.findings if _stands_in(f, rolls)]
        return chosen

    def _fetch(self, ranges: Iterable[tuple[int, int, int, int]]) -> None:
        for rollup in self.recording.shelf.rollups(list(ranges)):
            self.known[rollup.channel, rollup.grain_s, rollup.start_ns] = rollup

    def _without(self, index: int, span: Span, grains_s: Sequence[int]) -> Iterator[Span]:
        """The parts of a span that no roll-up of these grains stands for."""
        if not grains_s:
            return iter((span,))
        tiles = self._tile(index, span, grains_s)
        return _merge((from_ns, to_ns) for from_ns, to_ns, found in tiles if found is None)

    def _tile(
        self, index: int, span: Span, grains_s: Sequence[int]
    ) -> Iterator[tuple[int, int, Rollup | None]]:
        """The longest roll-ups that fit, one after the other; None where the shortest is missing.

        ``grains_s``: the longest first.
        """
        origin_ns = self.recording.start_ns
        least_ns = grains_s[-1] * NS_PER_S
        at_ns, end_ns = span
        while at_ns < end_ns:
            found = None
            for grain_s in grains_s:
                grain_ns = grain_s * NS_PER_S
                if (at_ns - origin_ns) % grain_ns or at_ns + grain_ns > end_ns:
                    continue
                found = self.known.get((index, grain_s, at_ns))
                if found is not None:
                    break
            if found is not None:
                next_ns = found.end_ns
            else:
                next_ns = min(at_ns + least_ns - (at_ns - origin_ns) % least_ns, end_ns)
            yield at_ns, next_ns, found
            at_ns = next_ns

    def _lay(self, track: _Track, spans: Iterable[Span]) -> tuple[list[Rollup], list[Span]]:
        tiles, holes = [], []
        for span in spans:
            for from_ns, to_ns, found in self._tile(track.index, span, _LONGEST_FIRST_S):
                if found is None:
                    holes.append((from_ns, to_ns))
                else:
                    tiles.append(found)
        return tiles, holes

    def _raw(self, track: _Track, tiles: Sequence[Rollup]) -> Iterator[Span]:
        """The time between the tiles, and before and after them all."""
        at_ns = max(track.islands[0][0], track.origin_ns)
        for tile in tiles:
            if tile.start_ns > at_ns:
                yield at_ns, tile.start_ns
            at_ns = tile.end_ns
        yield at_ns, max(track.islands[-1][1], at_ns)


def _merge(spans: Iterable[Span]) -> Iterator[Span]:
    """Sorted spans, with those that touch made one."""
    present: Span | None = None
    for from_ns, to_ns in spans:
        if present is not None and from_ns <= present[1]:
            present = present[0], max(present[1], to_ns)
            continue
        if present is not None:
            yield present
        present = from_ns, to_ns
    if present is not None:
        yield present


def _roll(tile: Rollup) -> Roll:
    return (
        tile.start_ns,
        tile.end_ns,
        tile.energy_j,
        tile.peak_w,
        tile.covered_s,
        tile.lost_j,
        tile.variance_j2,
    )


def _stands_in(finding: Incident, rolls: dict[int, list[Roll]]) -> bool:
    """Whether a roll-up stands for the time of a finding."""
    tiles = rolls.get(finding.channel, [])
    at = bisect_right(tiles, finding.t_ns, key=lambda tile: tile[0]) - 1
    return at >= 0 and finding.t_ns < tiles[at][1]
