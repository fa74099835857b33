"""Short forms of the soaks in ``tools/soak``."""

from __future__ import annotations

from soak import damage, fuzz


def test_random_damage_is_refused_named_or_harmless() -> None:
    outcomes = damage.run(250, seed=7)
    assert outcomes["harmless"] > 20
    assert outcomes["named"] > 20
    assert outcomes["refused"] > 20


def test_hostile_pieces_and_rows() -> None:
    pieces, recordings = fuzz.run(3.0, seed=7)
    assert pieces > 50
    assert recordings > 0
