"""The envelope of blocks and the rows of channels."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyprof import _native
from pyprof.layout import channel_of, channel_row, pack, row_crc, unpack

_VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(st.lists(_VALUES))
def test_the_checksum_of_a_row_is_that_of_its_compact_json(values: list[object]) -> None:
    text = json.dumps(values, separators=(",", ":"))
    assert row_crc(values) == zlib.crc32(text.encode())
    assert row_crc(tuple(values)) == zlib.crc32(text.encode())


@given(st.binary(max_size=4000), st.integers(0, 2**32 - 1))
def test_packing_loses_nothing_and_never_grows(frame: bytes, channel: int) -> None:
    frame = b"PYF2" + frame
    packed = pack(frame, channel)
    assert unpack(packed) == frame
    assert len(packed) <= len(frame)
    assert packed[:4] in (b"PYF2", b"PYZ1")


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_of_a_packed_block_is_noticed(at: int, bit: int) -> None:
    frame = b"PYF1" + b"the same again " * 100
    packed = bytearray(pack(frame, 3))
    assert packed.startswith(b"PYZ1")
    packed[at % len(packed)] ^= 1 << bit
    try:
        damaged = unpack(bytes(packed))
    except (ValueError, zlib.error):
        return
    # The magic itself was hit: what is left is no frame, and the account counts its bytes.
    assert at % len(packed) < 4
    assert not damaged.startswith(b"PYF1")


@pytest.mark.parametrize("size", [0, 4, 19, 25])
def test_a_packed_block_cut_short_is_noticed(size: int) -> None:
    packed = pack(b"PYF1" + bytes(1000), 0)
    if size == 0:
        assert unpack(b"") == b""
        return
    with pytest.raises(ValueError, match=r"cut short|damaged"):
        unpack(packed[:size])


def test_an_inflating_block_is_bounded() -> None:
    packed = pack(b"PYF1" + bytes(17 << 20), 0)
    with pytest.raises(ValueError, match="damaged"):
        unpack(packed)


@given(
    counts=st.integers(0, 2**64 - 1),
    unit=st.floats(1e-9, 1e3),
    tolerance=st.none() | st.floats(0, 1),
    counted=st.booleans(),
)
def test_a_channel_survives_its_row(
    counts: int, unit: float, tolerance: float | None, counted: bool
) -> None:
    channel = _native.Channel(
        id="gpu0",
        domain="gpu",
        uuid="GPU-1",
        range=counts,
        unit=unit,
        tolerance=tolerance,
        counted=counted,
        kind="gauge",
        window_ns=-1,
        reason="why",
    )
    again = channel_of(channel_row(4, True, channel)[2:-1])
    for name in ("id", "uuid", "range", "unit", "tolerance", "counted", "kind", "window_ns"):
        assert getattr(again, name) == getattr(channel, name)
