"""Picking documented fields out of answers; what is not as documented is one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pyprof.carbon.intensity import parse_utc
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


def _said(answer: Any) -> str:
    """The provider's own words about an error, if it has some."""
    if not isinstance(answer, Mapping):
        return ""
    said = answer.get("message") or answer.get("error")
    return f": {' '.join(str(said).split())[:120]}" if said else ""
