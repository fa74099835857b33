"""The native signal against its twin, and both against what can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim import waveform
from sim.sensor import Sensor
from sim.waveform import Segment, Signal, to_ns
from sim_probe import Probe

DAYS_18_NS = 18 * 86_400 * 10**9

powers_w = st.floats(0.0, 1000.0)
segments = st.builds(Segment, st.integers(1, 5 * 10**9), powers_w, powers_w)
signals = st.builds(Signal, st.lists(segments, min_size=1, max_size=6).map(tuple), st.booleans())
times_ns = st.integers(-DAYS_18_NS, DAYS_18_NS)


@given(signals, times_ns)
def test_energy_stays_exact_over_weeks(signal: Signal, t_ns: int) -> None:
    # The absolute term is one segment's rounding, for times at which hardly any energy has flowed.
    exact_j = signal.energy_j(t_ns)
    assert Probe(signal).ask("energy_j", t_ns) == pytest.approx(exact_j, rel=1e-9, abs=1e-9)


@given(signals, times_ns)
def test_power_agrees(signal: Signal, t_ns: int) -> None:
    assert Probe(signal).ask("power_w", t_ns) == pytest.approx(signal.power_w(t_ns), abs=1e-9)


@given(signals, times_ns, st.integers(10**6, 10**10))
def test_a_short_mean_keeps_its_digits_after_weeks(signal: Signal, t_ns: int, span: int) -> None:
    mean_w = Probe(signal).ask("mean_w", t_ns, t_ns + span)
    # A one-shot signal has no pass to fold to: 1e9 J leave 1e-7 J of rounding in a millisecond.
    slack_w = 1e-6 if signal.repeat else 1e-3
    assert mean_w == pytest.approx(signal.mean_w(t_ns, t_ns + span), abs=slack_w)


@given(signals, times_ns, times_ns, times_ns)
def test_energy_adds_up(signal: Signal, a_ns: int, b_ns: int, c_ns: int) -> None:
    parts_j = signal.between_j(a_ns, b_ns) + signal.between_j(b_ns, c_ns)
    assert parts_j == pytest.approx(signal.between_j(a_ns, c_ns), rel=1e-12, abs=1e-3)


def seconds_j(signal: Signal, from_s: float, to_s: float) -> float:
    native = Probe(signal)
    asked_j = native.ask("energy_j", to_ns(to_s)) - native.ask("energy_j", to_ns(from_s))
    assert asked_j == pytest.approx(signal.between_j(to_ns(from_s), to_ns(to_s)))
    return asked_j


def test_constant() -> None:
    assert seconds_j(waveform.constant(300.0), -2.0, 8.0) == pytest.approx(3000.0)


def test_square_is_high_first_for_its_duty() -> None:
    signal = waveform.square(100.0, 300.0, period_s=2.0, duty=0.25)
    assert seconds_j(signal, 0.0, 0.5) == pytest.approx(150.0)
    assert seconds_j(signal, 0.5, 2.0) == pytest.approx(150.0)
    assert seconds_j(signal, 0.0, 5.0) == pytest.approx(2 * 300.0 + 150.0 + 50.0)


def test_a_delay_moves_a_repeated_signal() -> None:
    signal = waveform.square(0.0, 100.0, delay_s=0.3)
    assert signal.power_w(to_ns(0.2)) == 0.0
    assert signal.power_w(to_ns(0.4)) == 100.0
    assert seconds_j(signal, 0.0, 1.0) == pytest.approx(50.0)
    assert seconds_j(signal, 0.0, 0.5) == pytest.approx(20.0)


def test_a_ramp_holds_its_ends() -> None:
    signal = waveform.ramp(100.0, 300.0, 4.0)
    assert seconds_j(signal, -1.0, 0.0) == pytest.approx(100.0)
    assert seconds_j(signal, 0.0, 2.0) == pytest.approx(300.0)
    assert seconds_j(signal, 0.0, 6.0) == pytest.approx(800.0 + 600.0)


def test_triangle_and_bursts() -> None:
    assert seconds_j(waveform.triangle(0.0, 100.0), 0.0, 1.0) == pytest.approx(50.0)
    bursts = waveform.bursts(50.0, 450.0, burst_s=0.02, every_s=0.2)
    assert seconds_j(bursts, 0.0, 1.0) == pytest.approx(50.0 + 5 * 400.0 * 0.02)


def test_training_steps() -> None:
    one_step_j = 250.0 * 0.10 + 420.0 * 0.12 + 650.0 * 0.18
    assert seconds_j(waveform.training(), 0.0, 4.0) == pytest.approx(10 * one_step_j)


def test_samples_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "power.csv"
    path.write_text("# a comment\nseconds,watts\n0,100\n1,200\n3,0\n")
    signal = waveform.recorded(path)
    assert seconds_j(signal, 0.0, 1.0) == pytest.approx(150.0)
    assert seconds_j(signal, 0.0, 9.0) == pytest.approx(350.0)


@pytest.mark.parametrize("parts", [(), (Segment(0, 1.0, 1.0),), (Segment(-5, 1.0, 1.0),)])
def test_impossible_signals_are_refused(parts: tuple[Segment, ...]) -> None:
    with pytest.raises(ValueError, match="segment"):
        Signal(parts)


def test_the_native_side_refuses_ranges_it_can_not_count() -> None:
    with pytest.raises(ValueError, match="refuses"):
        Probe(waveform.constant(1.0), Sensor(range_counts=2**63)).ask("power_w", 0)
