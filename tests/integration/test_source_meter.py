"""An external meter that writes lines into a pipe, a serial line or a file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sysfs_tree import write_tree

from pyprof import _native

SECOND_NS = 1_000_000_000


@contextmanager
def writing(path: Path, line: Callable[[float], str], period_s: float) -> Iterator[threading.Event]:
    """Appends ``line(seconds since the beginning)`` at a steady pace, by a descriptor kept open."""
    stop, begin = threading.Event(), time.monotonic()

    def keep() -> None:
        # The reader may be gone first.
        with suppress(BrokenPipeError), path.open("w", buffering=1) as out:
            number = 0
            while not stop.wait(max(0.0, begin + number * period_s - time.monotonic())):
                out.write(line(time.monotonic() - begin) + "\n")
                number += 1

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join()


def open_meter(path: Path, **more: Any) -> _native.Hardware:
    return _native.Hardware(meter=str(path), sources=["meter"], **more)


def sampled(
    hardware: _native.Hardware, seconds: float
) -> tuple[dict[str, Any], float, list[tuple[int, str, int, int, str]]]:
    """Result of the one channel, the length of the run, and the sampler's events."""
    channels = hardware.channels
    sampler = _native.Sampler(hardware)
    sampler.start()
    start_ns = _native.monotonic_ns()
    time.sleep(seconds)
    end_ns = _native.monotonic_ns()
    sampler.stop()
    account = _native.Account(channels, start_ns, end_ns, "training")
    account.add_frames(b"".join(sampler.drain()))
    return account.solve()["channels"][0], (end_ns - start_ns) / SECOND_NS, sampler.events()


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "meter"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("line", "quality", "method"),
    [
        (lambda s: "250 W", "derived", "power-average"),
        (lambda s: f"{17 + s:.6f};250000;mW", "derived", "power-average"),
        (lambda s: f"{1000 + 250 * s:.6f} J", "measured", "counter"),
        (lambda s: f"{s:.6f}, {(3600 + 250 * s) / 3.6e6:.12f}, kWh\r", "measured", "counter"),
    ],
)
def test_a_pipe_in_every_form(
    pipe: Path, line: Callable[[float], str], quality: str, method: str
) -> None:
    with writing(pipe, line, 0.05):
        hardware = open_meter(pipe)
        (channel,) = hardware.channels
        result, length_s, _ = sampled(hardware, 1.3)
    assert (channel.id, channel.domain, channel.counted) == ("meter", "host", True)
    assert (channel.quality, channel.method) == (quality, method)
    assert result["energy_j"] == pytest.approx(250.0 * length_s, rel=0.08)


def test_no_line_is_lost_between_two_reads(pipe: Path) -> None:
    """A line each millisecond, most of them far above the rest: the mean is known all the same."""

    def line(seconds: float) -> str:
        return f"{seconds:.6f} {400 if int(seconds * 100) % 4 else 0} W"

    with writing(pipe, line, 0.001):
        result, length_s, _ = sampled(open_meter(pipe), 1.31)
    assert result["energy_j"] == pytest.approx(300.0 * length_s, rel=0.08)


def test_a_serial_line(tmp_path: Path) -> None:
    master, slave = os.openpty()
    stop = threading.Event()

    def speak() -> None:
        while not stop.wait(0.05):
            os.write(master, b"# volts amperes\r\n60 W\r\n")

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        result, length_s, _ = sampled(open_meter(Path(os.ttyname(slave))), 0.83)
        os.set_blocking(master, False)
        with pytest.raises(BlockingIOError):
            os.read(master, 100)  # no echo
    finally:
        stop.set()
        thread.join()
        os.close(master)
        os.close(slave)
    assert result["energy_j"] == pytest.approx(60.0 * length_s, rel=0.08)


def test_a_file_with_a_long_history(tmp_path: Path) -> None:
    path = tmp_path / "log"
    history = "".join(f"{number}.5 1000 W\n" for number in range(9000))
    path.write_text(history)
    stop = threading.Event()

    def append() -> None:
        with path.open("a", buffering=1) as out:
            while not stop.wait(0.05):
                out.write("75 W\n")

    thread = threading.Thread(target=append)
    thread.start()
    try:
        time.sleep(0.2)
        result, length_s, _ = sampled(open_meter(path), 1.03)
    finally:
        stop.set()
        thread.join()
    assert result["energy_j"] == pytest.approx(75.0 * length_s, rel=0.08)


def test_a_file_that_is_emptied_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("5000 J\n")
    hardware = open_meter(path)
    channels = hardware.channels
    sampler = _native.Sampler(hardware)
    sampler.start()
    time.sleep(0.3)
    path.write_text("1 J\n")
    time.sleep(0.3)
    sampler.stop()
    now_ns = _native.monotonic_ns()
    account = _native.Account(channels, now_ns - SECOND_NS, now_ns, "training")
    account.add_frames(b"".join(sampler.drain()))
    assert [event[2] for event in account.solve()["events"]] == ["reset"]


def test_a_silence_is_not_bridged_by_power(pipe: Path) -> None:
    silent_s = 3.0

    def line(seconds: float) -> str:
        if 1.0 < seconds < 1.2:
            time.sleep(silent_s)
        return "100 W"

    with writing(pipe, line, 0.02):
        result, _, events = sampled(open_meter(pipe), 1.2 + silent_s + 1.5)
    assert {"lost", "back"} <= {event[1] for event in events}
    assert result["coverage"] < 0.85
    assert result["mean_w"] == pytest.approx(100.0, rel=0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("volts: 230\n", "says 'volts: 230', which is no reading"),
        ("230\n", "says '230', which is no reading"),
        ("-5 W\nnan W\n", "says '-5 W', which is no reading"),
        ("", "has given no reading in 5 s"),
    ],
)
def test_what_is_no_reading_is_quoted(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "meter"
    path.write_text(text)
    (found,) = open_meter(path).found
    assert (found.available, found.channels) == (False, [])
    assert words in found.reason
    assert '"12.5 W"' in found.remedy


def test_a_meter_that_is_not_there_is_named(tmp_path: Path) -> None:
    (found,) = open_meter(tmp_path / "none").found
    assert not found.available
    assert f"{tmp_path}/none: no such file or directory (errno 2)" in found.reason


def test_no_meter_is_not_missed() -> None:
    (found,) = _native.Hardware(sources=["meter"]).found
    assert (found.available, found.reason, found.remedy) == (False, "no meter was named", "")


def test_beside_components_the_meter_is_a_reference(tmp_path: Path) -> None:
    meter, sysfs = tmp_path / "meter", tmp_path / "sys"
    meter.write_text("400 W\n")
    files = {"name": "power_meter", "power1_average": 390_000_000}
    write_tree(sysfs / "class/hwmon/hwmon0", files)
    names = ["hwmon", "meter"]
    alone = _native.Hardware(sysfs=str(sysfs), meter=str(meter), sources=names)
    assert {row.id: row.counted for row in alone.channels} == {"host": False, "meter": True}
    write_tree(sysfs / "class/hwmon/hwmon1", {"name": "amdgpu", "power1_input": 40_000_000})
    beside = _native.Hardware(sysfs=str(sysfs), meter=str(meter), sources=names)
    assert [row.id for row in beside.channels if row.counted] == ["amdgpu0"]
