"""What pyprof says on its own account: one line on stderr, never more."""

from __future__ import annotations

import contextlib
import sys


def say(sentence: str) -> None:
    """One line on stderr, if there still is one."""
    with contextlib.suppress(Exception):
        sys.stderr.write(f"pyprof: {sentence}\n")
        sys.stderr.flush()
