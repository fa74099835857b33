"""Recordings of one run made into one: which belong together, and whose clocks agree."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyprof import _native
from pyprof.energy import Source
from pyprof.errors import RecordingError
from pyprof.host import NS_PER_S
from pyprof.layout import Block, Incident, Process, split_frames
from pyprof.loading import NODE_FILE, STAGES_PREFIX, load_file
from pyprof.recording import Recording
from pyprof.rollups import GRAINS_S
from pyprof.shelf import MemoryShelf
from pyprof.tally import KEY

#: In ``meta``: later (monotonic, boot, wall) anchors of the sampling process, as JSON.
ANCHORS_KEY = "anchors"
#: In ``meta`` of a process that only marks stages: UUIDs of the GPUs that its driver shows.
GPUS_KEY = "gpus"

#: Files of those that sample for a run beside the one that began it, or after its death.
NODE_PREFIX = "node-"

_TOLERANCE_NS = 10_000_000
_UNMEASURED = "unmeasured"
_RANKS = {"measured": 0, "derived": 1, "modelled": 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a process' times are those of another, and what is to be said of it."""

    joined: bool
    note: str | None = None


def agree(node: Recording, process: Process, devices: frozenset[str] = frozenset()) -> Verdict:
    """Whether ``process`` ran on the same boot of the same host as the one that sampled ``node``.

    CLOCK_MONOTONIC is one for all processes of a boot, up to the offsets of time namespaces. The
    difference to the wall clock tells whether that holds: it survives where a boot id is missing or
    false, and it fails where an offset is not known.
    """
    apart_ns = min(abs(_since(process) - since_ns) for since_ns in _known_since(node))
    near = apart_ns <= _TOLERANCE_NS
    who = f"process {process.pid}"
    if process.boot_id is not None and process.boot_id == node.process.boot_id:
        if near:
            return Verdict(True)
        return Verdict(
            False,
            f"what {who} recorded is left out: it names the same boot, but its clocks are "
            f"{apart_ns / NS_PER_S:.3f} s apart from those of the sampling process",
        )
    if near and _is_same_machine(node, process, devices):
        return Verdict(
            True,
            f"{who} names another boot, as in some containers: it is joined, as machine and clocks "
            "are the same",
        )
    return Verdict(False, f"what {who} recorded is of another boot or host, so left out")


def _since(process: Process) -> int:
    """Wall-clock time at which the host's monotonic clock was 0."""
    return process.wall_ns - (process.mono_ns - process.offset_ns)


def _known_since(node: Recording) -> list[int]:
    """The same for all anchors of the sampling process: wall clocks are set, machines sleep."""
    found = [_since(node.process)]
    try:
        for mono_ns, _, wall_ns in json.loads(node.meta.get(ANCHORS_KEY, "[]")):
            found.append(int(wall_ns) - (int(mono_ns) - node.process.offset_ns))
    except (ValueError, TypeError):
        pass
    return found


def _is_same_machine(node: Recording, process: Process, devices: frozenset[str]) -> bool:
    """By the identity of the installation and of the devices, so far as the process knows these."""
    mine, its = node.process.machine_id, process.machine_id
    known = _devices(node)
    return (
        mine is not None and mine == its and bool(known) and (not devices or bool(known & devices))
    )


def _devices(recording: Recording) -> frozenset[str]:
    """UUIDs of devices; empty where none are known."""
    found = {channel.uuid for channel in recording.channels if channel.uuid}
    try:
        found.update(str(each) for each in json.loads(recording.meta.get(GPUS_KEY, "[]")))
    except (ValueError, TypeError):
        pass
    return frozenset(found)


def join(node: Recording, others: Sequence[Recording]) -> Recording:
    """One recording of a run: what was sampled, with the stages of its processes.

    ``node`` gives the run its name and its ending. Others that sampled as well take over where it
    was not reading: no instant of a device counts twice. What does not belong to it is left out and
    named, like everything that is wrong with the others' files.
    """
    notes: list[str] = []
    accepted: list[Recording] = []
    for other in others:
        notes.extend(other.defects)
        verdict = agree(node, other.process, _devices(other))
        if verdict.note is not None:
            notes.append(verdict.note)
        if verdict.joined:
            accepted.append(other)
            if not other.channels:  # of those that sampled the splice keeps all incidents
                notes.extend(each.text for each in other.incidents if each.kind == "note")
    samplers = [other for other in accepted if other.channels]
    whole = _splice(node, samplers) if samplers else node
    processes, marks = list(node.processes), list(node.marks)
    next_id = max((process.id for process in processes), default=0) + 1
    for other in accepted:
        ids = {process.id: next_id + i for i, process in enumerate(other.processes)}
        next_id += len(ids)
        processes.extend(replace(process, id=ids[process.id]) for process in other.processes)
        marks.extend((ids[process], data) for process, data in other.marks if process in ids)
    if samplers:
        named = whole.process
        processes = [named if process.id == named.id else process for process in processes]
    joined = replace(whole, processes=tuple(processes), marks=tuple(marks))
    return with_notes(joined, notes)


def with_notes(recording: Recording, notes: Iterable[str]) -> Recording:
    """The recording with more to be said of it."""
    added = (Incident(recording.start_ns, "note", -1, 1, note) for note in notes)
    return replace(recording, incidents=(*recording.incidents, *added))


# -- the folder of a run ---------------------------------------------------------------------------


def node_files(folder: Path) -> list[Path]:
    """The files of those that sampled: of the run itself first, then of others by name."""
    own = folder / NODE_FILE
    return [*([own] if own.is_file() else []), *sorted(folder.glob(f"{NODE_PREFIX}*.pyprof"))]


def load_folder(folder: Path) -> Recording:
    """The files of a run's folder as one recording."""
    return replace(join_folder(load_nodes(folder), folder), path=str(folder))


def load_nodes(folder: Path) -> Recording:
    """What has been sampled in a run's folder, without the stages of other processes."""
    files = node_files(folder)
    found, unreadable = _load_all(files)
    if not found:
        if unreadable:
            raise RecordingError(unreadable[0])
        raise RecordingError(
            f"{folder} is not the folder of a run: it has no {NODE_FILE}; give a .pyprof file"
        )
    first, *others = found
    if files[0].name != NODE_FILE:
        first, *others = sorted(found, key=lambda each: _since(each.process) + each.start_ns)
    return with_notes(join(first, others), unreadable) if others or unreadable else first


def join_folder(node: Recording, folder: Path) -> Recording:
    """``node`` with the stages that processes have written into the run's folder."""
    others, unreadable = _load_all(sorted(folder.glob(f"{STAGES_PREFIX}*.pyprof")))
    return with_notes(join(node, others), unreadable)


def _load_all(files: Iterable[Path]) -> tuple[list[Recording], list[str]]:
    """Those that can be read, and why the others can't."""
    found, unreadable = [], []
    for file in files:
        try:
            found.append(load_file(file))
        except RecordingError as error:
            unreadable.append(str(error))
    return found, unreadable


# -- several that sampled --------------------------------------------------------------------------


@dataclass(slots=True)
class _Column:
    """One channel of the joined recording."""

    channel: _native.Channel
    device: tuple[str, ...]
    covered_ns: int = 0


@dataclass(slots=True)
class _Columns:
    """Channels of all recordings; those that are one sensor are one."""

    found: list[_Column] = field(default_factory=list)

    def place(self, channel: _native.Channel) -> int:
        """The number of the column that ``channel`` belongs to."""
        device = device_of(channel)
        same = [i for i, column in enumerate(self.found) if column.device == device]
        for index in same:
            known = self.found[index].channel
            if _form(known) == _form(channel):
                return index
            if known.quality == _UNMEASURED:
                self.found[index].channel = channel
                return index
        if same and channel.quality == _UNMEASURED:
            return same[0]
        taken = {column.channel.id for column in self.found}
        name, number = channel.id, 1
        while name in taken:
            number += 1
            name = f"{channel.id}#{number}"
        self.found.append(_Column(channel.replace(id=name), device))
        return len(self.found) - 1

    def sort(self) -> list[int]:
        """What can be read first; gives the new number of each column."""
        ranked = sorted(
            range(len(self.found)), key=lambda i: self.found[i].channel.quality == _UNMEASURED
        )
        self.found = [self.found[i] for i in ranked]
        return [ranked.index(i) for i in range(len(ranked))]

    def channels(self) -> tuple[_native.Channel, ...]:
        """All columns; of a device that was read in several ways the best one counts."""
        best: dict[tuple[str, ...], _Column] = {}
        for column in self.found:
            before = best.get(column.device)
            if before is None or _worth(column) > _worth(before):
                best[column.device] = column
        return tuple(
            column.channel
            if best[column.device] is column
            else column.channel.replace(
                counted=False, reason=f"the same device as {best[column.device].channel.id}"
            )
            for column in self.found
        )


def _worth(column: _Column) -> tuple[int, int]:
    return -_RANKS.get(column.channel.quality, 3), column.covered_ns


def device_of(channel: _native.Channel) -> tuple[str, ...]:
    """What is measured, whoever reads it by which means."""
    if channel.uuid:
        return channel.uuid, channel.domain, channel.id.partition("/")[2]
    return "", channel.domain, channel.id


def _form(channel: _native.Channel) -> tuple[object, ...]:
    """Raw values of equal forms can follow each other."""
    return channel.source, channel.kind, channel.unit, channel.range, channel.window_ns


def _splice(node: Recording, others: Sequence[Recording]) -> Recording:
    """Of several that sampled one after the other, or at once, one that did so all the time."""
    columns = _Columns()
    places = {id(each): [columns.place(row) for row in each.channels] for each in (node, *others)}
    order = columns.sort()
    places = {key: [order[index] for index in ours] for key, ours in places.items()}
    splice = _native.Splice(len(columns.found))
    frames: list[bytes] = []
    incidents: list[Incident] = []
    recordings = sorted((node, *others), key=lambda each: each.start_ns - each.process.offset_ns)
    for each in recordings:
        shift_ns = node.process.offset_ns - each.process.offset_ns
        ours = places[id(each)]
        splice.begin(each.id, ours, shift_ns)
        for data in (*each.sealed(), _native.join_frames(b"".join(each.tail))):
            for channel, _, count, first_ns, last_ns in _native.frame_info(data):
                if count and channel < len(ours):
                    columns.found[ours[channel]].covered_ns += last_ns - first_ns
            frames.extend(split_frames(splice.add(data)))
        incidents.extend(_moved(each.incidents, ours, shift_ns))
        if each.thinned and each is not recordings[0]:
            incidents.append(_given_up(each, shift_ns))
    first = recordings[0]
    joined = replace(
        node,
        processes=(_lasting(node, recordings),),
        meta={name: text for name, text in node.meta.items() if name != KEY},
        sources=_sources(recordings),
        channels=columns.channels(),
        incidents=tuple(sorted(incidents, key=lambda incident: incident.t_ns)),
        stats=_sum(each.stats for each in recordings),
        live=any(each.live for each in recordings),
    )
    return _shelved(joined, frames, first, places[id(first)])


def _shelved(
    joined: Recording, frames: Sequence[bytes], first: Recording, ours: Sequence[int]
) -> Recording:
    """``joined`` with its frames, and with the roll-ups of the ``first`` one, whose grid it has.

    Those of later ones count from other instants, so that their readings are taken.
    """
    blocks, by_id = [], {}
    for number, frame in enumerate(frames, start=1):
        blocks.append(Block(number, *_native.frame_info(frame)[0]))
        by_id[number] = frame
    shift_ns = joined.process.offset_ns - first.process.offset_ns
    always = [(i, g, 0, 1 << 62) for i in range(len(ours)) for g in GRAINS_S]
    rolled = [
        replace(rollup, channel=ours[rollup.channel], start_ns=rollup.start_ns + shift_ns)
        for rollup in first.shelf.rollups(always)
        if rollup.end_ns <= first.end_ns  # the last one may be shorter than its name
    ]
    return replace(
        joined,
        blocks=tuple(blocks),
        tail=(),
        shelf=MemoryShelf(by_id, rolled),
        findings=tuple(_moved(first.findings, ours, shift_ns)),
        thinned={ours[index]: 0 for index in first.thinned},  # numbers begin anew
    )


def _given_up(recording: Recording, shift_ns: int) -> Incident:
    """What can't be had back of a later one: its roll-ups count from an instant of their own."""
    text = (
        f"readings of process {recording.process.pid} were given up for roll-ups (--keep-raw), "
        "which can't be joined to what another process had sampled before: their time is a gap"
    )
    return Incident(recording.start_ns + shift_ns, "note", -1, 1, text)


def _moved(incidents: Iterable[Incident], ours: Sequence[int], shift_ns: int) -> Iterable[Incident]:
    for incident in incidents:
        known = 0 <= incident.channel < len(ours)
        channel = ours[incident.channel] if known else -1
        yield replace(incident, channel=channel, t_ns=incident.t_ns + shift_ns)


def _lasting(node: Recording, recordings: Sequence[Recording]) -> Process:
    """The process that gives the run its name, from the first beginning to the last end."""
    offset_ns = node.process.offset_ns
    starts = [each.start_ns + offset_ns - each.process.offset_ns for each in recordings]
    ends = [each.end_ns + offset_ns - each.process.offset_ns for each in recordings]
    return replace(
        node.process,
        start_ns=min(starts),
        end_ns=max(ends),
        complete=all(each.complete for each in recordings),
    )


def _sources(recordings: Sequence[Recording]) -> tuple[Source, ...]:
    """Each once; one that was available to any is available."""
    found: dict[str, Source] = {}
    for each in recordings:
        for source in each.sources:
            if source.name not in found or (source.available and not found[source.name].available):
                found[source.name] = source
    return tuple(found.values())


def _sum(stats: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in stats:
        for name, value in each.items():
            total[name] = total.get(name, 0.0) + value
    return total
