"""The native sensor against its twin: when it updates, and what it then shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim import waveform
from sim.sensor import Sensor
from sim.waveform import to_ns
from sim_probe import Probe
from test_sim_signal import signals

HOURS_NS = 3_600 * 10**9

sensors = st.builds(
    Sensor,
    period_s=st.floats(1e-4, 2.0),
    phase_s=st.floats(-3.0, 3.0),
    jitter=st.floats(0.0, 0.9),
    quantum_j=st.sampled_from([15.258e-6, 61.035e-6, 1e-3, 1.0]),
    range_counts=st.sampled_from([0, 2**14, 2**23, 2**32]),
    start_count=st.integers(0, 2**14 - 1),
    window_s=st.sampled_from([0.0, 0.025, 1.0]),
    lag_s=st.sampled_from([0.0, 0.1]),
)
times_ns = st.integers(-HOURS_NS, HOURS_NS)


@given(sensors, times_ns)
def test_updates_come_at_the_same_moments(sensor: Sensor, t_ns: int) -> None:
    last_ns = sensor.last_update_ns(t_ns)
    native = Probe(waveform.constant(1.0), sensor)
    assert native.ask("last_update_ns", t_ns) == last_ns
    following_ns = int(native.ask("next_update_ns", t_ns))
    assert last_ns <= t_ns < following_ns
    assert sensor.last_update_ns(following_ns) == following_ns
    assert sensor.last_update_ns(following_ns - 1) == last_ns


@given(sensors, times_ns)
def test_the_gap_between_updates_keeps_to_period_and_jitter(sensor: Sensor, t_ns: int) -> None:
    last_ns = sensor.last_update_ns(t_ns)
    gap_ns = last_ns - sensor.last_update_ns(last_ns - 1)
    period_ns = to_ns(sensor.period_s)
    assert abs(gap_ns - period_ns) <= sensor.jitter * period_ns + 2


@given(signals, sensors, times_ns)
def test_counters_agree_to_the_count(signal: waveform.Signal, sensor: Sensor, t_ns: int) -> None:
    exact = sensor.counter_at(signal, t_ns)
    native = int(Probe(signal, sensor).ask("counter_at", t_ns))
    whole = sensor.range_counts or 2**64
    # Energy that falls on a count's edge may be rounded to either side of it.
    assert (native - exact + 1) % whole <= 2
    assert 0 <= native < whole


@given(signals, sensors, times_ns)
def test_powers_agree(signal: waveform.Signal, sensor: Sensor, t_ns: int) -> None:
    native_w = Probe(signal, sensor).ask("power_at", t_ns)
    assert native_w == pytest.approx(sensor.power_at(signal, t_ns), abs=1e-3)


def test_a_counter_stands_still_between_updates() -> None:
    sensor = Sensor(period_s=0.1, quantum_j=1e-3)
    native = Probe(waveform.constant(200.0), sensor)
    shown = [native.ask("counter_at", to_ns(at_s)) for at_s in (0.30, 0.34, 0.399, 0.4)]
    assert shown == [60_000, 60_000, 60_000, 80_000]


def test_a_window_shows_only_its_share_of_the_period() -> None:
    # High in the first half of each period; the last quarter that the window sees is always low.
    signal = waveform.square(100.0, 500.0, period_s=0.1)
    blind = Sensor(period_s=0.1, window_s=0.025)
    whole = Sensor(period_s=0.1, window_s=0.1)
    assert Probe(signal, blind).ask("power_at", to_ns(7.03)) == pytest.approx(100.0)
    assert Probe(signal, whole).ask("power_at", to_ns(7.03)) == pytest.approx(300.0)


def test_lag_shows_the_past() -> None:
    sensor = Sensor(period_s=0.01, lag_s=0.5)
    native = Probe(waveform.ramp(0.0, 100.0, 1.0), sensor)
    assert native.ask("power_at", to_ns(0.8)) == pytest.approx(30.0)


@pytest.mark.parametrize(
    "values",
    [{"period_s": 0.0}, {"quantum_j": 0.0}, {"jitter": 1.0}, {"jitter": -0.1}, {"window_s": -1.0}],
)
def test_impossible_sensors_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a sensor's"):
        Sensor(**values)  # type: ignore[arg-type]
