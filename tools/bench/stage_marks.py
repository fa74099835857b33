"""What a stage mark costs, in ns per `with` block beyond the least that such a block can cost.

    python tools/bench/stage_marks.py [--rounds 15] [--blocks 100000] [--threads] [--json FILE]

The cases take turns within each round and the least of the rounds is shown: other work on the
machine only ever adds. Needs a C compiler and Python's headers for the floor.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any

from pyprof import _native
from pyprof.stages import stage

HERE = Path(__file__).resolve().parent

# Of one block beyond its floor, as the project promises.
GOALS_NS = {"inactive": 200.0, "active": 350.0}


def built_floor() -> ModuleType:
    """The two cheapest context managers there are, compiled for this Python."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "stage_floor.so"
        compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[:1]
        include = f"-I{sysconfig.get_path('include')}"
        source = str(HERE / "stage_floor.c")
        flags = ["-O2", "-DNDEBUG", "-shared", "-fPIC", include, source, "-o", str(target)]
        subprocess.run([*compiler, *flags], check=True)
        spec = importlib.util.spec_from_file_location("stage_floor", target)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


floor = built_floor()
EMPTY, CLOCK = floor.Empty(), floor.Clock()


def empty(blocks: int) -> None:
    for _ in repeat(None, blocks):
        with EMPTY:
            pass


def clock(blocks: int) -> None:
    for _ in repeat(None, blocks):
        with CLOCK:
            pass


def named(blocks: int) -> None:
    for _ in repeat(None, blocks):
        with stage("forward"):
            pass


def with_phase(blocks: int) -> None:
    for _ in repeat(None, blocks):
        with stage("forward", phase="training"):
            pass


def nested(blocks: int) -> None:
    with stage("epoch"), stage("batch"):
        named(blocks)


def changing(blocks: int) -> None:
    for name in map(NAMES.__getitem__, map((997).__rmod__, range(blocks))):
        with stage(name):
            pass


def bare() -> None:
    pass


marked = stage("function")(bare)


def calls(blocks: int, function: Callable[[], None] = bare) -> None:
    for _ in repeat(None, blocks):
        function()


def marked_calls(blocks: int) -> None:
    calls(blocks, marked)


def steps() -> Iterator[None]:
    yield from repeat(None)


marked_steps = stage("generator")(steps)


def generator(blocks: int, made: Callable[[], Iterator[None]] = steps) -> None:
    for _ in zip(range(blocks), made(), strict=False):
        pass


def marked_generator(blocks: int) -> None:
    generator(blocks, marked_steps)


PARTS = 10
NAMES = [f"stage-{i}" for i in range(997)]

# name: (what runs, its floor, whether marks are logged)
CASES: dict[str, tuple[Callable[[int], None], str, bool]] = {
    "empty": (empty, "empty", False),
    "clock": (clock, "empty", False),
    "call": (calls, "empty", False),
    "step": (generator, "empty", False),
    "inactive": (named, "empty", False),
    "inactive, phase=": (with_phase, "empty", False),
    "inactive, decorated call": (marked_calls, "call", False),
    "inactive, generator step": (marked_generator, "step", False),
    "active": (named, "clock", True),
    "active, phase=": (with_phase, "clock", True),
    "active, nested in two": (nested, "clock", True),
    "active, 997 names": (changing, "clock", True),
    "active, decorated call": (marked_calls, "call", True),
    "active, generator step": (marked_generator, "step", True),
}


def timed_ns(case: Callable[[int], None], blocks: int) -> float:
    """Ns per block, the log emptied between the parts as a writer would."""
    spent_ns = 0
    for _ in range(PARTS):
        before = time.perf_counter_ns()
        case(blocks // PARTS)
        spent_ns += time.perf_counter_ns() - before
        _native.drain_marks()
    return spent_ns / (blocks // PARTS * PARTS)


def one_ns(name: str, blocks: int) -> float:
    case, _, active = CASES[name]
    if not active:
        return timed_ns(case, blocks)
    _native.start_marks("training")
    try:
        return timed_ns(case, blocks)
    finally:
        _native.stop_marks()


def measure(rounds: int, blocks: int) -> dict[str, float]:
    """The least of the rounds, in ns per block."""
    least = dict.fromkeys(CASES, float("inf"))
    for _ in range(rounds):
        for name in CASES:
            least[name] = min(least[name], one_ns(name, blocks))
    return least


def in_threads(count: int, blocks: int) -> float:
    """Ns of wall time per block when several threads mark at once."""
    together = threading.Barrier(count + 1)

    def work() -> None:
        together.wait()
        named(blocks // count)
        together.wait()

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    _native.start_marks("training")
    together.wait()
    before = time.perf_counter_ns()
    together.wait()
    spent_ns = time.perf_counter_ns() - before
    _native.stop_marks()
    _native.drain_marks()
    for thread in threads:
        thread.join()
    return spent_ns / (blocks // count * count)


def rows(least: dict[str, float]) -> Iterator[tuple[str, float, float, float | None]]:
    for name, (_, base, _active) in CASES.items():
        yield name, least[name], least[name] - least[base], GOALS_NS.get(name)


def show(least: dict[str, float]) -> None:
    print(f"Python {platform.python_version()}, ns per block, least of the rounds")
    print(f"{'case':28}{'ns':>8}{'over floor':>12}{'floor':>8}  goal")
    for name, ns, over, goal in rows(least):
        verdict = "" if goal is None else f"  {'met' if over <= goal else 'MISSED'} ({goal:.0f})"
        print(f"{name:28}{ns:8.0f}{over:12.0f}{CASES[name][1]:>8}{verdict}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--threads", action="store_true", help="also 1, 2 and 8 threads at once")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    _native.set_stage_hook(None)
    least = measure(chosen.rounds, chosen.blocks)
    show(least)
    out: dict[str, Any] = {"python": platform.python_version(), "ns": least}
    if chosen.threads:
        counts = (1, 2, 8)
        least_of = {
            n: min(in_threads(n, chosen.blocks) for _ in range(chosen.rounds)) for n in counts
        }
        print("active, threads: " + ", ".join(f"{n}: {ns:.0f} ns" for n, ns in least_of.items()))
        out["threads_ns"] = least_of
    if chosen.json:
        chosen.json.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
