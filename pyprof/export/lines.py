"""Lines of a page: labelled text, list items and notes, broken at blanks to a width."""

from __future__ import annotations

from dataclasses import dataclass

from pyprof.export.terminal import MAX_WIDTH, fit, paint, text_width

INDENT = "  "
_LABEL_WIDTH = 10


@dataclass(frozen=True, slots=True)
class Page:
    """How to draw: escapes or not, and columns to use."""

    colour: bool = False
    width: int = MAX_WIDTH


def labelled(label: str, text: str, page: Page) -> list[str]:
    """A label in the margin and text beside it."""
    return wrap(text, f"{label:<{_LABEL_WIDTH}}", " " * _LABEL_WIDTH, page.width)


def bullet(text: str, page: Page, level: int = 0) -> list[str]:
    """A list item."""
    margin = INDENT * (level + 1)
    return wrap(text, f"{margin}- ", f"{margin}  ", page.width)


def note(text: str, page: Page) -> list[str]:
    """A line under a table."""
    return [paint(line, "dim", page.colour) for line in wrap(text, INDENT, INDENT, page.width)]


def wrap(text: str, first: str, rest: str, width: int) -> list[str]:
    """``text`` broken at blanks; escapes take no room; a word longer than a line is broken."""
    lines, line, used = [], first, len(first)
    fresh = True
    for word in text.split(" "):
        size = _seen_width(word)
        if not fresh and used + 1 + size > width:
            lines.append(line)
            line, used, fresh = rest, len(rest), True
        while used + size > width and "\x1b" not in word:
            piece = fit(word, width - used) or word[:1]
            lines.append(line + piece)
            word, line, used = word[len(piece) :], rest, len(rest)
            size = text_width(word)
        line, used = (line + word, used + size) if fresh else (f"{line} {word}", used + 1 + size)
        fresh = False
    return [*lines, line.rstrip()]


def _seen_width(word: str) -> int:
    """Columns of a word, escapes left out."""
    if "\x1b" not in word:
        return text_width(word)
    return text_width(
        "".join(
            part.partition("m")[2] if index else part
            for index, part in enumerate(word.split("\x1b["))
        )
    )
