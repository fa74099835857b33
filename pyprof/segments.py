"""What the system's agent publishes: closed files of ten seconds, and how others take them in."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyprof import _native, host
from pyprof.errors import RecordingError
from pyprof.host import NS_PER_S
from pyprof.joining import agree, device_of
from pyprof.layout import AGENT_KEY, Block, Incident, Process, Rollup
from pyprof.loading import load_file
from pyprof.recording import Recording
from pyprof.shelf import Range, Shelf

#: Where the service publishes, unless told otherwise.
FOLDER = "/run/pyprof"
#: The source of channels that were taken from it.
AGENT = "agent"
SEGMENT_S = 10

_NAME = re.compile(r"segment-(\d{19})-(\d{19})\.pyprof\Z")
#: An agent that has published nothing for so long is not there any more.
_STALE_NS = 6 * SEGMENT_S * NS_PER_S
_LOOK_EVERY_NS = 2 * NS_PER_S
_STEP_NS = NS_PER_S
_UNMEASURED = "unmeasured"


def name_of(start_ns: int, end_ns: int) -> str:
    """The name of a segment by its times on the host's CLOCK_MONOTONIC."""
    return f"segment-{start_ns:019d}-{end_ns:019d}.pyprof"


@dataclass(frozen=True, slots=True)
class Segment:
    """A published file, by its name. Times are on the host's CLOCK_MONOTONIC."""

    path: Path
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Published:
    """The folder that an agent publishes in."""

    folder: Path

    def segments(self) -> list[Segment]:
        """All that are there, in order of time."""
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        found = (_NAME.match(name) for name in names)
        parts = [(m[0], int(m[1]), int(m[2])) for m in found if m is not None]
        return [Segment(self.folder / name, a, b) for name, a, b in sorted(parts)]

    def trouble(self) -> str | None:
        """Why nothing in it can be used, if so."""
        try:
            mode = self.folder.stat().st_mode
            os.listdir(self.folder)
        except PermissionError:
            return f"{self.folder} can't be read: {os.strerror(13)}"
        except OSError as error:
            return f"{self.folder} can't be read: {error.strerror}"
        if not stat.S_ISDIR(mode) or mode & stat.S_IWOTH:
            return f"{self.folder} can be written by anybody, so it is not trusted"
        return None

    def newest(self) -> Recording:
        """What an agent at work has published last; else an error that says what is wrong."""
        trouble = self.trouble()
        if trouble is not None:
            raise RecordingError(trouble)
        segments = self.segments()
        if not segments or segments[-1].end_ns < host_ns() - _STALE_NS:
            raise RecordingError(f"no agent has published in {self.folder} for a minute")
        return load_file(segments[-1].path)


def host_ns() -> int:
    """CLOCK_MONOTONIC of the host, whatever this process' time namespace adds."""
    return time.monotonic_ns() - host.monotonic_offset_ns()


class Feed:
    """Takes an agent's readings into a recording of this process, as they are published."""

    def __init__(self, published: Published, channels: Mapping[int, _native.Channel]) -> None:
        """``channels`` are those wanted, by their number in this process' recording."""
        self._published = published
        self._places = {device_of(channel): index for index, channel in channels.items()}
        self._forms = {device_of(channel): form_of(channel) for channel in channels.values()}
        self._splice = _native.Splice(1 + max(channels, default=-1))
        self._taken_ns = host_ns()
        self._look_ns = 0
        self._refused = False

    def take(self, own: Process, *, now: bool = False) -> tuple[bytes, list[Incident]]:
        """Frames and events of what was published since; a folder is looked at every 2 s.

        ``own`` has a fresh anchor of this process' clocks.
        """
        now_ns = time.monotonic_ns()
        if not now and now_ns < self._look_ns:
            return b"", []
        self._look_ns = now_ns + _LOOK_EVERY_NS
        frames, incidents = [], []
        for segment in self._published.segments():
            if segment.end_ns <= self._taken_ns:
                continue
            self._taken_ns = segment.end_ns
            try:
                recording = load_file(segment.path)
            except RecordingError:  # too late, or not one: what is missing becomes a gap
                continue
            data, events = self.add(recording, own)
            frames.append(data)
            incidents.extend(events)
        return b"".join(frames), incidents

    def add(
        self, recording: Recording, own: Process, offset_ns: int | None = None
    ) -> tuple[bytes, list[Incident]]:
        """Frames and events of one segment as they follow on those before.

        ``offset_ns`` is that of the recording's time namespace, if it is not ``own``'s.
        """
        verdict = agree(recording, own)
        if not verdict.joined:
            if self._refused:
                return b"", []
            self._refused = True
            text = f"readings of the agent are left out: {verdict.note}"
            return b"", [Incident(own.mono_ns, "note", -1, 1, text)]
        ours_ns = own.offset_ns if offset_ns is None else offset_ns
        shift_ns = ours_ns - recording.process.offset_ns
        places = [self._place(channel) for channel in recording.channels]
        self._splice.begin(recording.id, places, shift_ns)
        frames = [self._splice.add(data) for data in recording.frames()]
        return b"".join(frames), [
            Incident(i.t_ns + shift_ns, i.kind, places[i.channel], i.count, i.text)
            for i in recording.incidents
            if 0 <= i.channel < len(places) and places[i.channel] >= 0
        ]

    def follow(self, frames: Iterable[bytes]) -> None:
        """What a recording has of these channels already."""
        known = set(self._places.values())
        self._splice.begin("", [i if i in known else -1 for i in range(1 + max(known))])
        for data in frames:
            self._splice.add(data)

    def _place(self, channel: _native.Channel) -> int:
        device = device_of(channel)
        if channel.quality == _UNMEASURED or self._forms.get(device) != form_of(channel):
            return -1
        return self._places[device]


def form_of(channel: _native.Channel) -> tuple[object, ...]:
    """Readings of equal forms can follow each other; who took them does not matter."""
    return channel.kind, channel.unit, channel.range, channel.window_ns


# -- what was published after the end of a recording -----------------------------------------------


def lag_ns(recording: Recording) -> int:
    """How much of the end of a recording its agent had not published yet."""
    borrowed = _borrowed(recording)
    if not borrowed:
        return 0
    read = dict.fromkeys(borrowed, recording.start_ns)
    for data in recording.frames():
        for channel, _, _, _, last_ns in _native.frame_info(data):
            if channel in read:
                read[channel] = max(read[channel], last_ns)
    return max(recording.end_ns - min(read.values()), 0)


def complete(recording: Recording, own: Process) -> Recording | None:
    """The recording with what its agent has published since; None where that is nothing.

    ``own`` is this process, which must run on the same boot.
    """
    folder = recording.meta.get(AGENT_KEY)
    here = recording.process.boot_id == own.boot_id and own.boot_id is not None
    lag = lag_ns(recording) if folder is not None and here and not recording.live else 0
    if folder is None or lag == 0:
        return None
    offset_ns = recording.process.offset_ns
    end_ns = recording.end_ns - offset_ns
    published = Published(Path(folder))
    if published.trouble() is not None:
        return None
    feed = Feed(published, _borrowed(recording))
    feed.follow(recording.frames())
    frames: list[bytes] = []
    incidents: list[Incident] = []
    for segment in published.segments():
        # One that has been taken already shows that nothing is missing before the next.
        if segment.end_ns < end_ns - lag - _STEP_NS or segment.start_ns > end_ns + 2 * _STEP_NS:
            continue
        try:
            data, events = feed.add(load_file(segment.path), own, offset_ns)
        except RecordingError:
            continue
        frames.append(data)
        incidents.extend(events)
    if not any(frames):
        return None
    open_ns = recording.end_ns - lag
    return replace(
        recording,
        shelf=_Reopened(recording.shelf, frozenset(_borrowed(recording)), open_ns),
        tail=(*recording.tail, *(data for data in frames if data)),
        incidents=(*recording.incidents, *incidents),
    )


@dataclass(frozen=True, slots=True)
class _Reopened:
    """A recording's shelf without the roll-ups that were closed before all readings had come."""

    shelf: Shelf
    channels: frozenset[int]
    open_ns: int

    def frames(self, blocks: Sequence[Block]) -> Iterator[bytes | None]:
        """The frame of each block; None for one that is damaged or gone."""
        return self.shelf.frames(blocks)

    def rollups(self, ranges: Sequence[Range]) -> Sequence[Rollup]:
        """Those that begin within one of the ranges and are closed."""
        return [
            rollup
            for rollup in self.shelf.rollups(ranges)
            if rollup.channel not in self.channels
            or rollup.start_ns + rollup.grain_s * NS_PER_S <= self.open_ns
        ]


def _borrowed(recording: Recording) -> dict[int, _native.Channel]:
    return {i: row for i, row in enumerate(recording.channels) if row.source == AGENT}
