"""A pause of random length, so that a loop runs out of step with the sensors."""

from __future__ import annotations

import random
import time

from pyprof.errors import UsageError

_MOST_S = 1.0
_chance = random.Random()  # the program's own random numbers stay as they are


def dither(most_s: float = 0.005) -> float:
    """Sleep for a random time below ``most_s`` seconds; returns the length that was drawn.

    A loop of short stages whose period is a multiple of a sensor's shows it the same piece each
    time, and its stages can't be told apart. Called once per turn, outside of the stages, this
    breaks the step. It costs half of ``most_s`` per turn: a quarter of the loop's period is enough.

    Raises :class:`UsageError` where ``most_s`` is not between 0 and 1.
    """
    if not 0 < most_s <= _MOST_S:
        raise UsageError(f"a pause must be longer than 0 and at most 1 s, not {most_s!r}")
    pause_s = _chance.uniform(0, most_s)
    time.sleep(pause_s)
    return pause_s
