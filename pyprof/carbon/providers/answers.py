"""Picking documented fields out of answers; what is not as documented is one sentence."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyprof.carbon.intensity import Intensity, Slot, make_intensity, parse_utc
from pyprof.carbon.providers.client import ProviderError
from pyprof.errors import UsageError


def rows_of(answer: Any, key: str, name: str) -> list[Mapping[str, Any]]:
    """A list of objects under ``key``."""
    rows = answer.get(key) if isinstance(answer, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ProviderError(f"{name} answered without a list {key!r}{_said(answer)}")
    return rows


def number_or_none(value: Any) -> float | None:
    """A finite number of at least 0, or None: a gap is a gap."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0.0 else None


def moment(value: Any, name: str) -> float:
    """A time in seconds of Unix time."""
    try:
        return parse_utc(str(value), name)
    except UsageError:
        raise ProviderError(f"{name} answered with a time that is none: {value!r}") from None


def iso(unix_s: float) -> str:
    """A moment as providers want it, to the second."""
    from datetime import datetime, timezone

    return datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parts(start_s: float, end_s: float, longest_s: float) -> Iterator[tuple[float, float]]:
    """A span in pieces that are short enough for one answer."""
    at_s = start_s
    while at_s < end_s:
        yield at_s, min(at_s + longest_s, end_s)
        at_s += longest_s


def keep_for(end_s: float) -> float:
    """How long an answer stays good: the far past for a month, the last two days for minutes."""
    return 30 * 86400.0 if time.time() - end_s > 2 * 86400.0 else 600.0


def series(slots: Iterable[Slot], like: Intensity) -> Intensity:
    """Slots as a series; none, or two values for one time, are the provider's fault."""
    try:
        return make_intensity(slots, like)
    except UsageError as error:
        raise ProviderError(str(error)) from None


def _said(answer: Any) -> str:
    """The provider's own words about an error, if it has some."""
    if not isinstance(answer, Mapping):
        return ""
    said = answer.get("message") or answer.get("error")
    return f": {' '.join(str(said).split())[:120]}" if said else ""
