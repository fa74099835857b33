"""Stages as a profiler's report shows them."""

from __future__ import annotations

import asyncio
import threading

import pytest

import pyprof


@pyprof.stage("work", phase="deployment")
def work() -> None:
    """Decorated while no profiler was active."""


def test_stages_of_functions_threads_and_tasks_in_one_report() -> None:
    @pyprof.stage("task")
    async def task() -> None:
        await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(*(task() for _ in range(5)))

    with pyprof.Profiler(sources=["modelled"]) as prof, prof.stage("main"):
        work()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        asyncio.run(tasks())
    rows = prof.report().stages
    assert {path: rows[path].count for path in rows if path} == {
        "main": 1,
        "main/work": 1,
        "work": 1,
        "main/task": 5,
    }
    assert rows["main/work"].phase == rows["work"].phase == "deployment"
    assert rows["main"].phase == "training"


def test_each_profiler_has_a_default_phase_of_its_own() -> None:
    with (
        pyprof.Profiler(sources=["modelled"], phase="development") as first,
        pyprof.Profiler(sources=["modelled"], phase="deployment") as second,
    ):
        with first.stage("a"), second.stage("b"):
            pass
        with second.stage("c"):
            pass
        with pyprof.stage("d"):
            pass
    rows = first.report().stages
    assert {path: rows[path].phase for path in rows if path} == {
        "a": "development",
        "a/b": "development",
        "c": "deployment",
        "d": "development",
    }


def test_profilers_one_after_another_see_their_own_stages() -> None:
    seen = []
    for name in ("first", "second"):
        prof = pyprof.Profiler(sources=["modelled"])
        with prof, pyprof.stage("same"), pyprof.stage(name):
            pass
        seen.append({path for path in prof.report().stages if path})
    assert seen == [{"same", "same/first"}, {"same", "same/second"}]


def test_a_profiler_refuses_another_phase() -> None:
    with (
        pyprof.Profiler(sources=["modelled"]) as prof,
        pytest.raises(ValueError, match="development, training or deployment"),
    ):
        prof.stage("x", phase="embodied")
