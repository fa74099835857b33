"""The pause that breaks the step of a loop."""

from __future__ import annotations

import random
import time

import pytest

import pyprof
from pyprof.errors import UsageError


def test_it_sleeps_as_long_as_it_says_and_leaves_the_program_its_random_numbers() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    begin = time.monotonic()
    pauses = [pyprof.dither(0.002) for _ in range(20)]
    assert time.monotonic() - begin >= sum(pauses)
    assert all(0 <= pause <= 0.002 for pause in pauses)
    assert len(set(pauses)) == 20
    assert random.random() == expected


@pytest.mark.parametrize("most_s", [0, -1, 2, float("nan")])
def test_a_pause_that_makes_no_sense_is_refused(most_s: float) -> None:
    with pytest.raises(UsageError, match="a pause must be longer than 0"):
        pyprof.dither(most_s)
