"""Clocks and identity of the host."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from pyprof import host


def test_anchor_names_one_instant_on_three_clocks() -> None:
    before = time.monotonic_ns()
    anchor = host.anchor()
    assert before <= anchor.mono_ns <= time.monotonic_ns()
    assert abs(anchor.wall_ns - time.time_ns()) < 1e9
    assert anchor.asleep_ns >= -1e6


@given(st.integers(-(2**62), 2**62))
def test_wall_time_follows_the_monotonic_one(later_ns: int) -> None:
    anchor = host.Anchor(5, 7, 1_700_000_000_000_000_000)
    assert anchor.wall_of(5 + later_ns) - anchor.wall_ns == later_ns


def test_utc_text_has_microseconds_and_z() -> None:
    assert host.utc_text(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456Z"
    assert host.utc_text(0) == "1970-01-01T00:00:00.000000Z"


def test_boot_is_known_here() -> None:
    assert host.boot_id() == host.boot_id() != ""
    assert host.monotonic_offset_ns() == 0


def test_program_name_holds_no_arguments_and_no_folders() -> None:
    assert "/" not in host.program_name()
    assert " " not in host.program_name()
