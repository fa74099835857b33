"""What the figures of a run cover, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyprof import _native

_NODE_WORDS = {
    "package": "CPU packages",
    "dram": "memory",
    "psys": "the platform",
    "module": "modules",
    "host": "the host",
}


def in_words(channels: Sequence[_native.Channel], simulate: str | None) -> str:
    """What the figures cover, for the line under the total."""
    counted = [channel for channel in channels if channel.counted]
    if simulate is not None and all(channel.source == "replay" for channel in counted):
        return f"simulated signals of {simulate}, not this machine"
    node = [
        word for domain, word in _NODE_WORDS.items() if any(c.domain == domain for c in counted)
    ]
    gpus = [channel.id for channel in counted if channel.domain == "gpu"]
    parts = [f"{_listed(node)} of the whole machine, whatever runs on it"] if node else []
    parts += [f"GPU {_listed(gpus)}"] if gpus else []
    return "; ".join(parts) or "nothing: no sensor can be read and nothing is modelled"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
