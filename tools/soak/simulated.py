"""Recordings made in simulated time: the store is given what a sampler would give it.

Readings come from a known power, so that the energy of any stretch of time is known exactly.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyprof import _native
from pyprof.energy import Source
from pyprof.layout import SAMPLER, Incident, Process
from pyprof.store import Batch, Head, Store

S = 10**9
START_NS = 1000 * S


@dataclass
class Sensor:
    """A counter of joules that is read once in each of its updates, as by the default pace."""

    id: str
    domain: str
    period_ns: int
    unit: float
    range: int = 0
    low_w: float = 60.0
    high_w: float = 400.0
    seed: int = 0
    #: Place of the update within the time between two reads.
    next_ns: int = 0
    read_ns: int = 0
    counts: float = 0.0
    seq: int = 0
    total_j: float = 0.0
    chance: random.Random = field(init=False)
    watts: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.watts = self.chance.uniform(self.low_w, self.high_w)
        self.counts = self.chance.uniform(0, 1e6)

    def channel(self) -> _native.Channel:
        return _native.Channel(
            id=self.id,
            domain=self.domain,
            device=self.id,
            source="replay",
            unit=self.unit,
            range=self.range,
            limit_w=2 * self.high_w,
        )

    def frame(self, index: int, until_ns: int) -> bytes:
        """What is read of it up to ``until_ns``."""
        if self.read_ns == 0:
            self.read_ns, self.next_ns = START_NS, START_NS + self.period_ns // 2
            return self._make(index, [START_NS], [START_NS], [START_NS], [int(self.counts)], 1)
        old: list[int] = []
        new: list[int] = []
        at: list[int] = []
        raw: list[int] = []
        chance, period_ns = self.chance, self.period_ns
        uniform = chance.random
        while self.next_ns < until_ns:
            if uniform() < 0.02:
                self.watts = chance.uniform(self.low_w, self.high_w)
            # The sensor updates with a little jitter; the read follows a little later.
            update_ns = self.next_ns + int((uniform() - 0.5) * 4000)
            read_ns = update_ns + period_ns // 10 + int(uniform() * 60_000)
            joules = self.watts * period_ns / S * (0.995 + 0.01 * uniform())
            self.counts += joules / self.unit
            self.total_j += joules
            old.append(self.read_ns)
            new.append(read_ns)
            at.append(update_ns)
            count = int(self.counts)
            raw.append(count % self.range if self.range else count)
            self.read_ns = read_ns
            self.next_ns += period_ns
        return self._make(index, old, new, at, raw, 0)

    def _make(
        self,
        index: int,
        old: Sequence[int],
        new: Sequence[int],
        at: Sequence[int],
        raw: Sequence[int],
        flags: int,
    ) -> bytes:
        made = _native.make_frame(
            channel=index,
            first_seq=self.seq,
            last_old_ns=old,
            first_new_ns=new,
            at_ns=at,
            raw=raw,
            first_flags=flags,
            last_read_ns=self.read_ns,
            period_ns=self.period_ns,
            interval_ns=self.period_ns,
        )
        self.seq += len(raw)
        return made


def node(gpus: int = 8, sockets: int = 2) -> list[Sensor]:
    """GPUs of 100 ms and 1 mJ, sockets read each second in RAPL's counts, with its wraps."""
    found = [Sensor(f"gpu{i}", "gpu", S // 10, 1e-3, seed=i) for i in range(gpus)]
    unit = 2.0**-14
    found += [
        Sensor(f"package-{i}", "package", S, unit, 1 << 32, 40.0, 280.0, seed=100 + i)
        for i in range(sockets)
    ]
    return found


def head_of(sensors: Sequence[Sensor]) -> Head:
    """What the recording of these sensors begins with."""
    process = Process(
        id=1,
        role=SAMPLER,
        pid=4242,
        host="simulated",
        boot_id="00000000-0000-4000-8000-000000000000",
        machine_id="0" * 32,
        command="simulated",
        argv=None,
        phase="training",
        mono_ns=START_NS,
        boot_ns=START_NS,
        wall_ns=1_700_000_000 * S,
        offset_ns=0,
        start_ns=START_NS,
        end_ns=None,
        exit_status=None,
        signal=None,
        complete=False,
    )
    return Head(
        meta={"run_id": "0" * 32, "pyprof_version": _native.__version__, "scope": "simulated"},
        process=process,
        sources=[Source("replay", True, "simulated", None)],
        channels=[sensor.channel() for sensor in sensors],
        sampled=len(sensors),
        incidents=[Incident(START_NS, "note", -1, 1, "simulated time")],
    )


def stages(count: int, first_ns: int, length_ns: int) -> Iterator[tuple[int, bytes]]:
    """Frames of marks of ``count`` stages one after the other: (time of the end, frame)."""
    for number in range(count):
        begin_ns = first_ns + number * length_ns
        end_ns = begin_ns + length_ns * 9 // 10
        yield end_ns, mark_frame(number, begin_ns, end_ns)


def mark_frame(number: int, begin_ns: int, end_ns: int) -> bytes:
    """One stage "step" as a process logs it."""
    return _native.make_marks(
        seq=2 * number,
        names=[(0, "step")] if number == 0 else [],
        marks=[(1, begin_ns, number + 1, 0, 0), (2, end_ns, number + 1, 0, 0)],
    )


def record(
    path: Path | None,
    sensors: Sequence[Sensor],
    duration_s: float,
    *,
    commit_s: float = 0.5,
    keep_raw_s: float | None = None,
    marks: Sequence[tuple[int, bytes]] = (),
    finish: bool = True,
) -> Store:
    """Record ``duration_s`` of simulated time with a commit each ``commit_s``."""
    keep_ns = None if keep_raw_s is None else int(keep_raw_s * S)
    store = Store(path, head_of(sensors), keep_raw_ns=keep_ns)
    store.begin(START_NS)
    waiting = list(marks)
    end_ns = START_NS + int(duration_s * S)
    now_ns = START_NS
    while True:
        frames = b"".join(sensor.frame(i, now_ns) for i, sensor in enumerate(sensors))
        due = [frame for t_ns, frame in waiting if t_ns <= now_ns]
        waiting = waiting[len(due) :]
        if not store.commit(Batch(now_ns, frames=frames, marks=due, stats={"wakes": now_ns / S})):
            raise RuntimeError("the recording is locked")
        if now_ns >= end_ns:
            break
        now_ns = min(now_ns + int(commit_s * S), end_ns)
    if finish:
        store.finish(end_ns, 0, None)
        store.close()
    return store
