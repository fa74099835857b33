"""Random damages of recordings: refused, named or harmless; no crash, no hang, no wrong joule.

cd tools; python -m soak.damage --cases 100000
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyprof
from pyprof.energy import EnergyReport
from pyprof.errors import PyprofError
from pyprof.layout import PAGE_BYTES
from pyprof.salvage import recover
from soak.simulated import START_NS, S, node, record, stages

_LIMIT_S = 1.0
_RECOVER_EVERY = 10
_GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "recordings"

Damage = Callable[[bytearray, random.Random], None]


def flip(data: bytearray, chance: random.Random) -> None:
    """One bit, or eight, where something is."""
    for _ in range(chance.choice((1, 1, 1, 8))):
        at = chance.randrange(len(data))
        for _ in range(50):
            if data[at]:
                break
            at = chance.randrange(len(data))
        data[at] ^= 1 << chance.randrange(8)


def zero(data: bytearray, chance: random.Random) -> None:
    """4 KiB of zeros."""
    at = chance.randrange(max(len(data) - 4096, 1))
    data[at : at + 4096] = bytes(min(4096, len(data) - at))


def cut(data: bytearray, chance: random.Random) -> None:
    """The end is missing."""
    del data[chance.randrange(len(data)) :]


def noise(data: bytearray, chance: random.Random) -> None:
    """Some bytes are others."""
    at = chance.randrange(len(data))
    size = min(chance.choice((1, 4, 64, 1024)), len(data) - at)
    data[at : at + size] = chance.randbytes(size)


def swap(data: bytearray, chance: random.Random) -> None:
    """A page stands in another's place."""
    pages = len(data) // PAGE_BYTES
    if pages < 2:
        return
    from_page, to_page = chance.sample(range(pages), 2)
    page = data[from_page * PAGE_BYTES : (from_page + 1) * PAGE_BYTES]
    data[to_page * PAGE_BYTES : (to_page + 1) * PAGE_BYTES] = page


DAMAGES: tuple[Damage, ...] = (flip, flip, flip, zero, cut, noise, swap)


def samples(folder: Path) -> Iterator[tuple[bytes, bool]]:
    """A whole recording, one that was cut short, and the kept ones; whether each loss shows.

    Schema 1 did not count the rows of a run that was cut short.
    """
    marks = list(stages(12, START_NS + 3 * S, 20 * S))
    for finish in (True, False):
        out = folder / f"{finish}.pyprof"
        made = record(out, node(2, 1), 300.0, commit_s=10.0, marks=marks, finish=finish)
        if not finish:
            made.close()
        yield out.read_bytes(), True
    for kept in sorted(_GOLDEN.glob("*.gz")):
        yield gzip.decompress(kept.read_bytes()), not kept.name.startswith("schema-1-")


def check_sentence(error: Exception) -> None:
    """What is refused is refused in one line."""
    assert "\n" not in str(error)


def numbers(report: EnergyReport) -> tuple[object, ...]:
    """What must not change without a sign."""
    return (
        report.energy_j,
        report.run.complete,
        [(c.id, c.energy_j, c.quality, c.counted) for c in report.channel_rows],
        [(s.path, s.count, s.energy_j, s.duration_s) for s in report.stage_rows],
        [(e.kind, e.channel, e.count) for e in report.events],
    )


def check(path: Path, truth: tuple[object, ...], *, shows: bool) -> str:
    """What became of a damaged recording; raises for what may not be."""
    began_s = time.process_time()
    try:
        recording = pyprof.load(path)
        report = recording.report()
    except PyprofError as error:
        check_sentence(error)
        outcome = "refused"
    else:
        named = recording.defects or len(report.events) > len(truth[-1])  # type: ignore[arg-type]
        if numbers(report) == truth:
            outcome = "harmless"
        else:
            assert named or not shows, "wrong without a sign"
            outcome = "named" if named else "schema 1: no sign"
    spent_s = time.process_time() - began_s
    assert spent_s < _LIMIT_S, f"took {spent_s:.2f} s"
    return outcome


def run(cases: int, seed: int) -> Counter[str]:
    """So many damages; how often what came of them."""
    outcomes: Counter[str] = Counter()
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / "damaged.pyprof"
        wholes = []
        for data, shows in samples(folder):
            path.write_bytes(data)
            wholes.append((data, shows, numbers(pyprof.load(path).report())))
        for number in range(cases):
            data, shows, truth = chance.choice(wholes)
            damage = chance.choice(DAMAGES)
            damaged = bytearray(data)
            damage(damaged, chance)
            path.write_bytes(damaged)
            try:
                outcomes[check(path, truth, shows=shows)] += 1
                if number % _RECOVER_EVERY == 0:
                    outcomes[f"recover: {_recover(path, folder / 'new.pyprof')}"] += 1
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"damage-{seed}-{number}.pyprof"
                kept.write_bytes(damaged)
                raise AssertionError(
                    f"case {number} ({damage.__name__}), kept as {kept}"
                ) from error
    return outcomes


def _recover(path: Path, out: Path) -> str:
    try:
        saved = recover(path, out, overwrite=True)
        report = pyprof.load(out).report()
    except PyprofError as error:
        check_sentence(error)
        return "refused"
    known = [row for row in report.channel_rows if row.energy_j is not None]
    assert known or not saved.changes
    assert saved.losses or report.energy_j is not None
    return "some" if saved.losses else "all"


def main() -> int:
    """As many cases as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    began_s = time.process_time()
    outcomes = run(chosen.cases, chosen.seed)
    spent_s = time.process_time() - began_s
    print(f"{chosen.cases} cases in {spent_s:.0f} s of CPU: {dict(sorted(outcomes.items()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
