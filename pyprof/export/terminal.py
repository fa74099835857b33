"""What a terminal can show: colour, width, and names that can't play tricks on it."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Mapping
from typing import TextIO

MIN_WIDTH = 60
MAX_WIDTH = 100

# Bidirectional overrides and isolates reorder what follows; line separators split a row.
_HIDDEN = frozenset(map(chr, (0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))))
_CONTROL = frozenset(("Cc", "Cs"))
_ASCII = str.maketrans(
    {"±": "+/-", "·": "-", "–": "-", "…": "~", "×": "x", "₂": "2", "µ": "u", "└": "`", "─": "-"}
)
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def wants_colour(stream: TextIO | None, environ: Mapping[str, str] | None = None) -> bool:
    """Whether escapes may be written: NO_COLOR, then FORCE_COLOR, TERM=dumb, then the stream."""
    env = os.environ if environ is None else environ
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR") not in (None, "", "0"):
        return True
    return env.get("TERM") != "dumb" and stream is not None and stream.isatty()


def usable_width() -> int:
    """Columns to write in, never outside 60 to 100."""
    columns = shutil.get_terminal_size((MAX_WIDTH, 24)).columns
    return max(MIN_WIDTH, min(MAX_WIDTH, columns))


def paint(text: str, style: str, colour: bool) -> str:
    """``text`` in a style, or as it is."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour and text else text


def clean(text: str) -> str:
    """``text`` with every control character made visible, so that no name drives the terminal."""
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    """The character, or its escape if it is not to be printed."""
    if character in _HIDDEN or unicodedata.category(character) in _CONTROL:
        code = ord(character)
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return character


def text_width(text: str) -> int:
    """Columns that ``text`` takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    """Columns of one character."""
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """``text`` cut in its middle to ``width`` columns."""
    if text_width(text) <= width:
        return text
    tail_room = (width - 1) // 3
    head = fit(text, width - 1 - tail_room)
    tail = fit(text[::-1], tail_room)[::-1]
    return f"{head}…{tail}"


def fit(text: str, width: int) -> str:
    """The longest beginning of ``text`` within ``width`` columns."""
    used = 0
    for index, character in enumerate(text):
        used += _columns(character)
        if used > width:
            return text[:index]
    return text


def write(stream: TextIO | None, text: str) -> None:
    """``text`` to a stream that may be missing or may know ASCII only."""
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        text = text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    stream.write(text)
    stream.flush()


def drop_output() -> None:
    """Forgets what stdout still holds: it has nowhere to go, and the end would try it again."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(sentence: str) -> None:
    """One line of pyprof's own on stderr; a stderr that is gone is no reason to fail."""
    try:
        write(sys.stderr, f"pyprof: {clean(sentence)}\n")
    except (OSError, ValueError):
        pass
