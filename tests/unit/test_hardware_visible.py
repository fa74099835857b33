"""Whose GPUs are whose: the rules of CUDA_VISIBLE_DEVICES, and doubt where it can't be followed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyprof.visible import Gpu, Owned, owned_gpus

_UUIDS = ("GPU-aa000000-01", "GPU-aa000000-02", "GPU-bb000000-03", "GPU-cc000000-04")


def _board(number: int, *, name: str = "A100", bus: int | None = None) -> Gpu:
    place = (0, number if bus is None else bus, 0)
    return Gpu(f"gpu{number}", _UUIDS[number], name, place)


_FOUR = [_board(number) for number in range(4)]
_EVERYTHING = {"gpu0", "gpu1", "gpu2", "gpu3"}


def _owned(listed: str | None, gpus: list[Gpu] = _FOUR, **more: str) -> Owned:
    environ = dict(more) if listed is None else {"CUDA_VISIBLE_DEVICES": listed, **more}
    return owned_gpus(gpus, environ)


@pytest.mark.parametrize(
    ("listed", "ids"),
    [
        (None, _EVERYTHING),
        ("", set()),
        ("-1", set()),
        ("NoDevFiles", set()),
        ("0", {"gpu0"}),
        ("2,1", {"gpu1", "gpu2"}),
        (" 3 , 0", {"gpu0", "gpu3"}),
        ("0,2,-1,1", {"gpu0", "gpu2"}),
        ("1,9,0", {"gpu1"}),
        ("0,,1", {"gpu0"}),
        ("1,1", {"gpu1"}),
        ("GPU-bb000000-03", {"gpu2"}),
        ("GPU-bb", {"gpu2"}),
        ("GPU-bb,GPU-cc", {"gpu2", "gpu3"}),
        ("GPU-bb,GPU-ee,GPU-cc", {"gpu2"}),
        ("GPU-aa", set()),  # the prefix of two
        ("GPU-aa000000-02,0", {"gpu1"}),
        ("MIG-GPU-cc000000-04/1/0", {"gpu3"}),
    ],
)
def test_devices_named_without_doubt(listed: str | None, ids: set[str]) -> None:
    assert _owned(listed) == Owned(frozenset(ids))


def test_indices_count_along_the_bus_not_along_the_driver() -> None:
    swapped = [_board(0, bus=9), _board(1, bus=3), _board(2, bus=5), _board(3, bus=1)]
    assert _owned("0", swapped).ids == {"gpu3"}
    assert _owned("0,1", swapped, CUDA_DEVICE_ORDER="PCI_BUS_ID").ids == {"gpu1", "gpu3"}


def test_unlike_gpus_are_numbered_by_speed_so_all_are_counted() -> None:
    unlike = [_board(0), _board(1, name="T4"), _board(2), _board(3)]
    owned = _owned("1", unlike)
    assert owned.ids == _EVERYTHING
    assert owned.doubt is not None
    assert "CUDA_DEVICE_ORDER" in owned.doubt
    assert "all 4 GPUs are counted" in owned.doubt
    assert _owned("1", unlike, CUDA_DEVICE_ORDER="PCI_BUS_ID") == Owned(frozenset({"gpu1"}))
    assert _owned("GPU-bb", unlike) == Owned(frozenset({"gpu2"}))


def test_without_places_on_the_bus_an_index_is_doubtful() -> None:
    placeless = [Gpu(gpu.id, gpu.uuid, gpu.name) for gpu in _FOUR]
    assert _owned("1", placeless).doubt is not None
    assert _owned("0,1,2,3", placeless) == Owned(frozenset(_EVERYTHING))
    assert _owned("", placeless) == Owned(frozenset())


def test_an_index_among_split_gpus_is_doubtful() -> None:
    gpus = [Gpu("gpu0", _UUIDS[0], "A100", (0, 1, 0), split=True), _board(1), _board(2)]
    owned = _owned("1", gpus)
    assert owned.ids == {"gpu0", "gpu1", "gpu2"}
    assert owned.doubt is not None
    assert "MIG" in owned.doubt
    assert _owned("GPU-bb", gpus) == Owned(frozenset({"gpu2"}))


def test_a_mig_device_owns_the_board_that_holds_it() -> None:
    listed = {"CUDA_VISIBLE_DEVICES": "MIG-41b36413-ea1f-5d4c-ae8a-6d9b0e4a8d3a"}
    known = owned_gpus(_FOUR, listed, lambda uuid: _UUIDS[2])
    assert known == Owned(frozenset({"gpu2"}))
    unknown = owned_gpus(_FOUR, listed, lambda uuid: None)
    assert unknown.ids == _EVERYTHING
    assert unknown.doubt is not None


def test_no_gpu_is_no_doubt() -> None:
    assert _owned("0,1", []) == Owned(frozenset())


@given(st.text(alphabet="0123,-GPUMIaabc /", max_size=30), st.booleans())
def test_any_list_gives_some_of_the_gpus(listed: str, by_bus: bool) -> None:
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if by_bus else {}
    owned = _owned(listed, _FOUR, **order)
    assert owned.ids <= _EVERYTHING
    assert owned.doubt is None or owned.ids == _EVERYTHING
