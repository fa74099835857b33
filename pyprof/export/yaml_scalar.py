"""Values in YAML: JSON texts are YAML texts, except for one form of number."""

from __future__ import annotations

import json


def scalar(value: str | float | None) -> str:
    """A value on one line: no quote, colon or line break in a name can break out of it."""
    text = json.dumps(value)
    if isinstance(value, float) and "e" in text and "." not in text:
        # YAML 1.1 takes 1e-07 for a text; 1.0e-07 is a number everywhere.
        return text.replace("e", ".0e")
    return text
