"""Files of simulated signals: what they mean, and one clear sentence where they mean nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyprof.errors import UsageError
from pyprof.simulate import Segment, Signal, read_signals

_S = 1_000_000_000


def _read(folder: Path, text: str) -> list[Signal]:
    path = folder / "signals.toml"
    path.write_text(text)
    return read_signals(str(path))


def _one(folder: Path, text: str) -> Signal:
    (signal,) = _read(folder, f'[[channel]]\nid = "gpu0"\n{text}\n')
    return signal


def _energy_j(segments: tuple[Segment, ...]) -> float:
    return math.fsum(ns / _S * (start + end) / 2 for ns, start, end in segments)


@pytest.mark.parametrize(
    ("text", "segments", "repeat"),
    [
        ('kind="constant"\nwatts=250', ((_S, 250.0, 250.0),), True),
        (
            'kind="square"\nlow_w=60\nhigh_w=300\nperiod_s=0.5\nduty=0.2',
            ((_S // 10, 300.0, 300.0), (4 * _S // 10, 60.0, 60.0)),
            True,
        ),
        ('kind="square"\nlow_w=60\nhigh_w=300\nperiod_s=1\nduty=0', ((_S, 60.0, 60.0),), True),
        ('kind="ramp"\nfrom_w=50\nto_w=350\nduration_s=10', ((10 * _S, 50.0, 350.0),), False),
        (
            'kind="triangle"\nlow_w=10\nhigh_w=20\nperiod_s=2',
            ((_S, 10.0, 20.0), (_S, 20.0, 10.0)),
            True,
        ),
        (
            'kind="steps"\nsteps=[[1.5, 100], [0.5, 0]]\nrepeat=true',
            ((3 * _S // 2, 100.0, 100.0), (_S // 2, 0.0, 0.0)),
            True,
        ),
    ],
)
def test_each_kind_of_signal(
    tmp_path: Path, text: str, segments: tuple[Segment, ...], repeat: bool
) -> None:
    signal = _one(tmp_path, text)
    assert signal.segments == segments
    assert signal.repeat is repeat


def test_recorded_samples_are_joined_by_straight_lines(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("time_s,power_w\n10,100\n10.5,200\n12,50\n")
    signal = _one(tmp_path, 'kind="csv"\nfile="samples.csv"')
    assert signal.segments == ((_S // 2, 100.0, 200.0), (3 * _S // 2, 200.0, 50.0))
    assert not signal.repeat


def test_sensor_and_description(tmp_path: Path) -> None:
    (signal,) = _read(
        tmp_path,
        """
        [[channel]]
        id = "package-1"
        device = "a socket"
        kind = "constant"
        watts = 100
        [channel.sensor]
        period_s = 0.001
        jitter = 0.1
        quantum_j = 0.0001
        wrap_j = 500
        start_j = 499
        """,
    )
    sensor = signal.sensor
    assert (sensor.period_ns, sensor.range_counts, sensor.start_count) == (
        1_000_000,
        5_000_000,
        4_990_000,
    )
    fields = signal.channel_fields()
    assert fields["domain"] == "package"
    assert (fields["kind"], fields["quality"], fields["scope"]) == ("counter", "measured", "node")


def test_a_gauge_is_derived(tmp_path: Path) -> None:
    text = 'kind="constant"\nwatts=1\n[channel.sensor]\ntype="gauge"\nwindow_s=1.0'
    signal = _one(tmp_path, text)
    assert signal.sensor.window_ns == _S
    fields = signal.channel_fields()
    assert (fields["kind"], fields["quality"], fields["scope"]) == ("gauge", "derived", "devices")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no [[channel]]"),
        ("channel = 3", "[[channel]]"),
        ("x =", "not valid TOML"),
        ('[[channel]]\nid="gpu0"', "the key 'kind' is missing"),
        ('[[channel]]\nkind="constant"', "the key 'id' is missing"),
        ('[[channel]]\nid="gpu0"\nkind="sine"', "kind must be one of constant, square"),
        ('[[channel]]\nid="gpu0"\nkind="constant"\nwatts=-3', "watts must lie between 0"),
        ('[[channel]]\nid="gpu0"\nkind="constant"\nwatts=true', "watts must be a number"),
        ('[[channel]]\nid="gpu0"\nkind="constant"\nwatts=nan', "watts must be a number"),
        ('[[channel]]\nid="gpu0"\nkind="constant"\nwats=3', "the key 'watts' is missing"),
        (
            '[[channel]]\nid="gpu0"\nkind="constant"\nwatts=3\nrepaet=true',
            "unknown key 'repaet': did you mean 'repeat'?",
        ),
        ('[[channel]]\nid="left"\nkind="constant"\nwatts=3', "the key 'domain' is missing"),
        ('[[channel]]\nid="gpu0"\ndomain="cpu"\nkind="constant"\nwatts=3', "domain must be one"),
        ('[[channel]]\nid="gpu0"\nkind="steps"\nsteps=[]', "something in it"),
        ('[[channel]]\nid="gpu0"\nkind="steps"\nsteps=[[1]]', "pairs [seconds, watts]"),
        ('[[channel]]\nid="gpu0"\nkind="steps"\nsteps=[[0, 5]]', "a time above zero"),
        (
            '[[channel]]\nid="gpu0"\nkind="square"\nlow_w=1\nhigh_w=2\nperiod_s=1\nduty=2',
            "duty must lie between 0 and 1",
        ),
        ('[[channel]]\nid="gpu0"\nkind="csv"\nfile="none.csv"', "none.csv can't be read"),
        (
            '[[channel]]\nid="gpu0"\nkind="constant"\nwatts=3\n[channel.sensor]\nperiod=1',
            "unknown key 'period': did you mean 'period_s'?",
        ),
        (
            '[[channel]]\nid="gpu0"\nkind="constant"\nwatts=3\n[channel.sensor]\ntype="gauge"\n'
            "quantum_j=1",
            "unknown key 'quantum_j'",
        ),
        (
            '[[channel]]\nid="gpu0"\nkind="constant"\nwatts=3\n[channel.sensor]\nwrap_j=5\n'
            "start_j=5",
            "start_j must be below wrap_j",
        ),
        (
            '[[channel]]\nid="gpu0"\nkind="constant"\nwatts=3\n' * 2,
            "the id 'gpu0' is given to several channels",
        ),
    ],
)
def test_what_means_nothing_is_refused_in_one_sentence(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        _read(tmp_path, text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time_s,power_w\n0,1\n", "two samples or more"),
        ("t,p\n0,1\n1,1\n", "needs the header time_s,power_w"),
        ("time_s,power_w\n0,1\n0,1\n", "line 3: time_s must grow"),
        ("time_s,power_w\n0,1\n1,-1\n", "line 3: power_w must lie between 0"),
        ("time_s,power_w\n0,1\n1\n", "line 3: power_w is not a number"),
        ("time_s,power_w\n0,1\n1,inf\n", "line 3: power_w must be a number"),
        ("", "needs the header"),
    ],
)
def test_bad_samples_are_refused_with_their_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "samples.csv").write_text(text)
    with pytest.raises(UsageError, match=says):
        _one(tmp_path, 'kind="csv"\nfile="samples.csv"')


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml can't be read: No such file"):
        read_signals(str(tmp_path / "none.toml"))


@given(
    low=st.floats(0, 500),
    high=st.floats(0, 500),
    period=st.floats(0.001, 1000),
    duty=st.floats(0, 1),
)
def test_a_square_wave_has_the_energy_of_its_duty(
    tmp_path_factory: pytest.TempPathFactory, low: float, high: float, period: float, duty: float
) -> None:
    text = f'kind="square"\nlow_w={low!r}\nhigh_w={high!r}\nperiod_s={period!r}\nduty={duty!r}'
    signal = _one(tmp_path_factory.mktemp("signal"), text)
    mean_w = duty * high + (1 - duty) * low
    # Durations are rounded to a nanosecond.
    assert _energy_j(signal.segments) == pytest.approx(mean_w * period, rel=1e-5, abs=2e-6)


@pytest.mark.parametrize(
    "file", sorted(Path(__file__).resolve().parents[2].glob("tools/demo/*.toml"))
)
def test_the_files_shipped_as_examples_are_read(file: Path) -> None:
    assert read_signals(str(file))
