"""The short form of the conformance kit: pyprof on the cases that its peers get wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conformance import kit
from conformance.scenarios import Scenario, table
from sim.overlay import why_not_over_sys

# The others are in the full table of docs/measuring-well.md.
CASES = (
    "reset",
    "denied",
    "GIL held",
)
SCENARIOS = {each.name: each for each in table()}


def test_every_case_asks_for_channels_that_its_machine_has() -> None:
    for scenario in SCENARIOS.values():
        assert set(scenario.channels) <= set(scenario.make().signals())
        assert scenario.windows


def test_every_tool_has_an_adapter_of_a_few_lines() -> None:
    for tool in kit.TOOLS:
        lines = (Path(kit.__file__).parent / f"adapters/{tool}.py").read_text().splitlines()
        code = [line for line in lines if line.strip() and "import" not in line]
        assert len(code) <= 24, tool


@pytest.fixture(scope="module")
def _overlay(tmp_path_factory: pytest.TempPathFactory) -> None:
    why = why_not_over_sys(str(tmp_path_factory.mktemp("sys")))
    if why:
        pytest.skip(f"no tree can be bound over /sys here: {why}")


@pytest.mark.usefixtures("_overlay")
@pytest.mark.parametrize("name", CASES)
def test_pyprof_is_right_or_honestly_bounded(name: str) -> None:
    scenario: Scenario = SCENARIOS[name]
    answer = kit.ask(kit.OWN, scenario, sys.executable)
    assert answer.failure is None, answer.failure
    assert answer.is_right or answer.is_bounded, answer


def test_an_answer_is_judged_by_what_its_edges_leave_open() -> None:
    answer = kit.Answer("t", "t 1", "s", 100.0, 100.0, 110.0, 105.0)
    assert answer.error == 0.0
    assert answer.is_right
    assert not answer.is_bounded
    wrong = kit.Answer("t", "t 1", "s", 100.0, 100.0, 110.0, 50.0, interval_j=(40.0, 120.0))
    assert wrong.error == -0.5
    assert not wrong.is_right
    assert wrong.is_bounded
    silent = kit.Answer("t", "t 1", "s", 100.0, 100.0, 110.0, None)
    assert silent.is_bounded
    assert not kit.Answer("t", "", "s", 0.0, 0.0, 0.0, None, failure="hangs").is_bounded


def test_the_table_shows_wrong_answers_in_bold_and_names_failures() -> None:
    (first, *_) = SCENARIOS.values()
    answers = [
        kit.Answer("a", "a 1", first.name, 100.0, 100.0, 101.0, 100.2),
        kit.Answer("b", "b 2", first.name, 100.0, 100.0, 101.0, 0.0),
        kit.Answer("c", "", first.name, 0.0, 0.0, 0.0, None, failure="ValueError: no"),
    ]
    text = kit.markdown([first], answers, ("a", "b", "c"))
    assert "| a 1 | b 2 | c |" in text
    assert "| 0.0 % | **0 J** | fails |" in text
    assert f"- c, {first.name}: ValueError: no" in text
