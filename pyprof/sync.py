"""Waiting for the devices, by whatever framework the program has loaded; none is ever imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pyprof.layout import Incident

_NOTHING = (
    "sync=True waited for nothing: none of torch, cupy and jax was loaded with a device in use, so "
    "those stages are as without it; give a callable instead"
)
_said: list[str] = []
_known: set[str] = set()


def wait() -> object:
    """Return when everything queued on the devices in use is done; NotImplemented if none is."""
    waited = [name for name, of in _FRAMEWORKS.items() if _wait_for(name, of)]
    for name in waited:
        _say_once(f"stages with sync=True waited for {name}")
    if waited:
        return None
    _say_once(_NOTHING)
    return NotImplemented


def take_notes(now_ns: int) -> list[Incident]:
    """What is to be said in the recording, since the last time."""
    notes = _said[:]
    del _said[: len(notes)]
    return [Incident(now_ns, "note", -1, 1, note) for note in notes]


def _say_once(sentence: str) -> None:
    if sentence not in _known:
        _known.add(sentence)
        _said.append(sentence)


def _wait_for(name: str, of: Callable[[Any], bool]) -> bool:
    """Whether the framework is loaded, has a device in use, and was waited for."""
    module = sys.modules.get(name.partition(".")[0])
    return module is not None and of(module)


def _torch(name: str) -> Callable[[Any], bool]:
    """``torch.cuda`` and ``torch.xpu`` are alike. A device without a context is left alone."""

    def wait_for(torch: Any) -> bool:
        devices = getattr(torch, name, None)
        if devices is None or not devices.is_initialized():
            return False
        current = devices.current_device()
        for index in range(devices.device_count()):
            if index == current or devices.memory_reserved(index) > 0:
                devices.synchronize(index)
        return True

    return wait_for


def _cupy(cupy: Any) -> bool:
    """The current device: asking another one would give it a context."""
    cupy.cuda.runtime.deviceSynchronize()
    return True


def _jax(jax: Any) -> bool:
    """A device runs what it is given in order: when a last addition is done, all is."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    if not getattr(bridge, "_backends", None):
        return False  # asking for its devices now would take them into use
    last = [jax.device_put(0.0, device) + 0 for device in jax.local_devices()]
    jax.block_until_ready(last)
    return True


_FRAMEWORKS: dict[str, Callable[[Any], bool]] = {
    "torch.cuda": _torch("cuda"),
    "torch.xpu": _torch("xpu"),
    "cupy": _cupy,
    "jax": _jax,
}
