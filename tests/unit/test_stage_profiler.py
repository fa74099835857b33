"""Stages as a profiler's report shows them."""

from __future__ import annotations

import asyncio
import threading

import pytest

import pyprof
from pyprof.energy import Stage, Stages


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


def test_rows_of_one_path_and_two_phases_are_all_listed() -> None:
    def row(path: str, phase: str) -> Stage:
        return Stage(path, phase, 1, 1, 1.0, 1.0, 2.0, 1.9, 2.1, 2.0, True, (), {}, {})

    rows = (row("", "training"), row("a", "training"), row("a", "deployment"))
    stages = Stages(rows)
    assert list(stages) == ["", "a"]
    assert tuple(stages.values()) == rows
    assert len(stages.values()) == 3
    assert rows[2] in stages.values()
    assert list(stages.items()) == [("", rows[0]), ("a", rows[1]), ("a", rows[2])]
    assert ("a", rows[2]) in stages.items()
    with pytest.raises(KeyError, match="'training' and 'deployment'"):
        stages["a"]


@pytest.mark.parametrize(
    "settings",
    [{"phase": "idle"}, {"pace": "none"}, {"interval": -1.0}, {"pue": 0.5}, {"zone": "Narnia"}],
)
def test_a_bad_setting_is_a_value_error(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"phase|pace|interval|pue|Narnia"):
        pyprof.Profiler(**settings)  # type: ignore[arg-type]


def test_sources_may_be_named_as_on_the_command_line() -> None:
    with pyprof.Profiler(sources="modelled,rapl-powercap") as prof:
        pass
    assert {source.name for source in prof.report().sources} == {"modelled", "rapl-powercap"}


def test_the_scope_of_a_run_is_a_word_and_what_it_covers_a_sentence() -> None:
    with pyprof.Profiler(sources=["modelled"]) as prof:
        pass
    run = prof.report().to_dict()["run"]
    assert run["scope"] == "node"
    assert "whole machine" in run["covers"]
