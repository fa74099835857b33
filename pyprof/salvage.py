"""What a broken recording still holds: its own pieces of bytes are found without SQLite."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import sqlite3
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from pyprof import _native, rows
from pyprof.container import create
from pyprof.copying import fill
from pyprof.errors import NewerSchemaError, RecordingError, brief
from pyprof.layout import (
    BLOCK_MAGIC,
    IDENTITY_MAGIC,
    STAGES_MAGIC,
    VERSION,
    Block,
    Incident,
    Process,
    Rollup,
    open_envelope,
    piece_size,
    split_frames,
)
from pyprof.loading import load_file
from pyprof.recording import Recording
from pyprof.shelf import MemoryShelf, Range, Shelf
from pyprof.tally import KEY, Tally

_MAGIC = re.compile(rb"PY(?:F[12]|[ZSI]1)")
_LEAST_BUDGET = 4 << 20


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was saved: the recording, and in words what was not."""

    recording: Recording
    changes: int
    losses: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    """Pieces by what they say of themselves; the same one may lie in a file more than once."""

    #: (channel, first number) -> changes, first stamp, last reading, offset, size.
    frames: dict[tuple[int, int], tuple[int, int, int, int, int]] = field(default_factory=dict)
    marks: dict[tuple[int, bytes], None] = field(default_factory=dict)
    identity: dict[str, Any] | None = None


@contextlib.contextmanager
def salvage(file: Path) -> Iterator[Salvage]:
    """All that can be saved of ``file``, which is not changed; raises if that is nothing.

    The readings stay where they lie: the recording is good within the context.
    """
    with _bytes_of(file) as data:
        found = _scan(data)
        base = _readable(file, found)
        shelf = _BytesShelf(data, base.shelf)
        blocks = tuple(_blocks(base, found, shelf))
        marks = _marks(base, found)
        kept = Tally.parse(base.meta.get(KEY, ""))
        whole = replace(base, blocks=blocks, shelf=shelf, tail=(), marks=marks, defects=())
        losses = tuple(_losses(base, whole, kept))
        notes = (f"recovered from {file.name}: {loss}" for loss in losses)
        added = tuple(Incident(whole.start_ns, "note", -1, 1, note) for note in notes)
        whole = replace(whole, incidents=(*whole.incidents, *added))
        yield Salvage(whole, sum(block.count for block in blocks), losses)


def recover(file: Path, out: Path, *, overwrite: bool = False) -> Salvage:
    """Save what is left of ``file`` as a new recording."""
    with salvage(file) as saved:
        try:
            guard = create(out, lambda new: fill(new, saved.recording), overwrite=overwrite)
            os.close(guard)
        except (OSError, sqlite3.Error) as error:
            raise RecordingError(f"{out} can't be written: {brief(error)}") from None
        return saved


# -- the scan --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _bytes_of(file: Path) -> Iterator[mmap.mmap]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise RecordingError(f"{file} is not a file: there is nothing to recover")
            if found.st_size == 0:
                raise RecordingError(f"{file} is empty: there is nothing to recover")
            data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise RecordingError(f"{file} can't be read: {brief(error)}") from None
    with data:
        yield data


def _scan(data: mmap.mmap) -> _Found:
    found = _Found()
    at = 0
    # Bytes made up to look like beginnings could make the search quadratic.
    budget = 64 * len(data) + _LEAST_BUDGET
    while budget > 0 and (hit := _MAGIC.search(data, at)) is not None:
        start = hit.start()
        size = piece_size(data[start : start + 8], len(data) - start)
        budget -= size
        taken = size > 0 and _take(data[start : start + size], start, found)
        at = start + (size if taken else 4)
    return found


def _take(piece: bytes, at: int, found: _Found) -> bool:
    """Whether the bytes are what they say."""
    magic = piece[:4]
    try:
        if magic == IDENTITY_MAGIC:
            return _take_identity(open_envelope(piece, IDENTITY_MAGIC)[1], found)
        if magic == STAGES_MAGIC:
            found.marks[open_envelope(piece, STAGES_MAGIC)] = None
            return True
        frame = open_envelope(piece, BLOCK_MAGIC)[1] if magic == BLOCK_MAGIC else piece
    except (ValueError, zlib.error):
        return False
    infos = _native.frame_info(frame)
    if len(infos) != 1:
        return False
    channel, first_seq, count, first_ns, last_ns = infos[0]
    known = found.frames.get((channel, first_seq))
    if known is None or (count, last_ns) > (known[0], known[2]):
        found.frames[channel, first_seq] = (count, first_ns, last_ns, at, len(piece))
    return True


def _take_identity(content: bytes, found: _Found) -> bool:
    try:
        identity = dict(json.loads(content))
        later = found.identity is None or identity["t_ns"] >= found.identity["t_ns"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    if later:
        found.identity = identity
    return True


# -- a recording of the pieces ---------------------------------------------------------------------


def _readable(file: Path, found: _Found) -> Recording:
    """What SQLite can read of the file, else what its last inventory says."""
    try:
        return load_file(file)
    except NewerSchemaError:
        raise
    except RecordingError as error:
        if found.identity is None:
            raise RecordingError(
                f"nothing of {file.name} can be recovered: "
                f"no inventory of its channels was found in it ({error})"
            ) from None
    return _described(file, found.identity)


def _described(file: Path, identity: Mapping[str, Any]) -> Recording:
    schema = identity.get("schema", 0)
    if isinstance(schema, int) and schema > VERSION:
        raise NewerSchemaError(
            f"{file.name} has the recording schema {schema}, this pyprof reads up to {VERSION}: "
            "update pyprof to recover it"
        )
    try:
        channels = dict(_rows(identity, rows.CHANNELS))
        if len({channel.id for channel in channels.values()}) < len(channels):
            raise ValueError("it names a channel twice")
        meta = dict(_rows(identity, rows.META))
        processes = tuple(_rows(identity, rows.PROCESSES))
        lost = ["SQLite can't open it: events, costs and roll-ups are lost"]
        if not _is_last(identity, processes):
            lost.append("how much there was at its end is not known, as SQLite can't tell either")
        return Recording(
            path=str(file),
            meta=meta,
            processes=processes,
            sources=tuple(_rows(identity, rows.SOURCES)),
            channels=tuple(channels[index] for index in range(len(channels))),
            blocks=(),
            shelf=MemoryShelf({}),
            tail=(),
            marks=(),
            incidents=(),
            stats={},
            thinned={} if (kept := Tally.parse(meta.get(KEY, ""))) is None else kept.thinned,
            defects=tuple(lost),
        )
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise RecordingError(f"the inventory of {file.name} is damaged: {brief(error)}") from None


def _is_last(identity: Mapping[str, Any], processes: Sequence[Process]) -> bool:
    """Whether an inventory was made at the end, when it was known how much there is."""
    end_ns = processes[0].end_ns
    return end_ns is not None and int(identity["t_ns"]) >= end_ns


def _rows(identity: Mapping[str, Any], query: rows.Query[Any]) -> Iterator[Any]:
    for row in identity[query.table]:
        rows.check_crc(row)
        yield query.make(row[:-1])


#: Where a frame is: offset and size in the file, a block that SQLite reads, or the bytes.
Place = tuple[int, int] | Block | bytes


class _BytesShelf:
    """Frames where they lie in the file; roll-ups as far as SQLite reads them."""

    def __init__(self, data: mmap.mmap, base: Shelf) -> None:
        self._data = data
        self._base = base
        self.places: dict[int, Place] = {}

    def frames(self, blocks: Sequence[Block]) -> Iterator[bytes | None]:
        for block in blocks:
            place = self.places[block.id]
            if isinstance(place, Block):
                yield from self._base.frames([place])
                continue
            if isinstance(place, bytes):
                yield place
                continue
            piece = self._data[place[0] : place[0] + place[1]]
            inside = piece.startswith(BLOCK_MAGIC)
            yield open_envelope(piece, BLOCK_MAGIC)[1] if inside else piece

    def rollups(self, ranges: Sequence[Range]) -> Sequence[Rollup]:
        return self._base.rollups(ranges)


def _blocks(base: Recording, found: _Found, shelf: _BytesShelf) -> Iterator[Block]:
    """Every change once, in order."""
    places: dict[tuple[int, int], tuple[int, int, int, Place]] = {
        key: (count, first_ns, last_ns, (at, size))
        for key, (count, first_ns, last_ns, at, size) in found.frames.items()
    }
    for channel, first_seq, count, first_ns, last_ns, place in _of_base(base):
        key = channel, first_seq
        if key not in places or places[key][:3:2] < (count, last_ns):
            places[key] = count, first_ns, last_ns, place
    reached: dict[int, int] = {}
    number = 0
    for (channel, first_seq), (count, first_ns, last_ns, place) in sorted(
        places.items(), key=lambda item: (item[0], -item[1][0])
    ):
        if channel >= len(base.channels) or first_seq < reached.get(channel, 0):
            continue
        reached[channel] = first_seq + count
        number += 1
        shelf.places[number] = place
        yield Block(number, channel, first_seq, count, first_ns, last_ns)


def _of_base(base: Recording) -> Iterator[tuple[int, int, int, int, int, Place]]:
    for block in base.blocks:
        yield *astuple(block)[1:], block
    for data in base.tail:
        for frame in split_frames(data):
            for info in _native.frame_info(frame):
                yield *info, frame


def _marks(base: Recording, found: _Found) -> tuple[tuple[int, bytes], ...]:
    """Frames of marks in the order of their process."""
    return tuple(sorted({*base.marks, *found.marks}, key=_order))


def _order(mark: tuple[int, bytes]) -> tuple[int, int, int]:
    """Process, number of the first mark, how many: names go before the marks that use them."""
    process, frame = mark
    first, count = frame[12:20], frame[24:28]
    return process, int.from_bytes(first, "little"), int.from_bytes(count, "little")


def _losses(base: Recording, whole: Recording, kept: Tally | None) -> Iterable[str]:
    yield from (each for each in base.defects if "SQLite" in each)
    if kept is None:
        yield "how much there was is not known"
        return
    have: dict[int, int] = {}
    for block in whole.blocks:
        have[block.channel] = have.get(block.channel, 0) + block.count
    for index, channel in enumerate(whole.channels):
        expected = kept.changes.get(index, 0) - kept.thinned.get(index, 0)
        if (lost := expected - have.get(index, 0)) > 0:
            yield f"{lost} of {expected} readings of {channel.id} are lost"
    rows_of: dict[int, int] = {}
    for process, _ in whole.marks:
        rows_of[process] = rows_of.get(process, 0) + 1
    lost = sum(max(n - rows_of.get(process, 0), 0) for process, n in kept.marks.items())
    if lost:
        yield f"{lost} of {sum(kept.marks.values())} rows of stages are lost"
    if whole.incidents and len(whole.incidents) < kept.events:
        yield f"{kept.events - len(whole.incidents)} of {kept.events} events are lost"
