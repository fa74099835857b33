"""Recordings made in simulated time: the store is given what a sampler would give it.

Readings come from a known power, so that the energy of any stretch of time is known exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pyprof import _native
from pyprof.energy import Source
from pyprof.layout import SAMPLER, Incident, Process
from pyprof.store import Batch, Head, Store

S = 10**9
START_NS = 1000 * S


@dataclass
class Sensor:
    """A counter of joules that is read once in each of its updates, or more closely."""

    id: str
    domain: str
    period_ns: int
    unit: float
    range: int = 0
    low_w: float = 60.0
    high_w: float = 400.0
    seed: int = 0
    #: Of its updates that are bracketed by two reads.
    bracketed: float = 0.125
    next_ns: int = 0
    read_ns: int = 0
    counts: int = 0
    seq: int = 0
    watts: float = 0.0
    chance: np.random.Generator = field(init=False)
    first: int = field(init=False)

    def __post_init__(self) -> None:
        self.chance = np.random.default_rng(self.seed)
        self.watts = self.chance.uniform(self.low_w, self.high_w)
        self.counts = self.first = int(self.chance.integers(0, 1_000_000))

    @property
    def total_j(self) -> float:
        """Of all updates up to now, exactly."""
        return (self.counts - self.first) * self.unit

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
            return self._make(index, [START_NS], [START_NS], [START_NS], [self.counts], 1)
        count = max(-(-(until_ns - self.next_ns) // self.period_ns), 0)
        if count == 0:
            return self._make(index, [], [], [], [], 0)
        chance, period_ns = self.chance, self.period_ns
        grid_ns = self.next_ns + period_ns * np.arange(count)
        self.next_ns += period_ns * count
        # Updates with a jitter of 0.2 ms, reads somewhat later; some are bracketed.
        update_ns = grid_ns + (chance.standard_normal(count) * 200_000).astype(np.int64)
        new = grid_ns + period_ns // 20 + (chance.exponential(60_000, count)).astype(np.int64)
        update_ns = np.minimum(update_ns, new)
        old = np.concatenate(([self.read_ns], new[:-1]))
        bracketed = chance.random(count) < self.bracketed
        close_ns = new - 1_000_000 - (chance.exponential(60_000, count)).astype(np.int64)
        old = np.where(bracketed & (close_ns < update_ns), close_ns, old)
        raw = self._count(count)
        self.read_ns = int(new[-1])
        return self._make(index, old.tolist(), new.tolist(), update_ns.tolist(), raw.tolist(), 0)

    def begin_anew(self, index: int, now_ns: int) -> bytes:
        """The first reading of another process, which goes on from here."""
        self.seq, self.read_ns = 0, now_ns
        counts = self.counts % self.range if self.range else self.counts
        return self._make(index, [now_ns], [now_ns], [now_ns], [counts], 1)

    def _count(self, count: int) -> np.ndarray:
        """The counter after each of the next updates: levels of power, with noise on them."""
        chance = self.chance
        changes = np.flatnonzero(chance.random(count) < 0.02)
        watts = np.empty(count)
        watts[:] = self.watts
        for at in changes:
            watts[at:] = self.watts = chance.uniform(self.low_w, self.high_w)
        noisy = watts * (1 + 0.005 * chance.standard_normal(count))
        counts = self.counts + np.cumsum((noisy * (self.period_ns / S) / self.unit).astype(int))
        self.counts = int(counts[-1])
        return counts % self.range if self.range else counts

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


def node(gpus: int = 8, sockets: int = 2, *, fine: bool = False) -> list[Sensor]:
    """GPUs of 100 ms and 1 mJ, sockets read each second in RAPL's counts, with its wraps.

    ``fine``: each update of a GPU bracketed and sockets read each 10 ms, as by that pace.
    """
    share = 1.0 if fine else 0.125
    found = [Sensor(f"gpu{i}", "gpu", S // 10, 1e-3, seed=i, bracketed=share) for i in range(gpus)]
    unit, period_ns = 2.0**-14, S // 100 if fine else S
    found += [
        Sensor(f"package-{i}", "package", period_ns, unit, 1 << 32, 40.0, 280.0, seed=100 + i)
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
