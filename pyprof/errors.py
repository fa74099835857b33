"""What can go wrong in a way a user can mend. The message is one sentence with the remedy."""

from __future__ import annotations

_LONGEST = 160


class PyprofError(Exception):
    """Base of all errors that pyprof raises on purpose.

    ``exit_status`` is what the command line gives for it: 2 usage, or a file that is missing,
    unreadable or not a recording; 3 not comparable; 4 a newer schema.
    """

    exit_status: int = 2


class UsageError(PyprofError, ValueError):
    """An argument or a setting that can't be used."""


class UnknownZoneError(PyprofError, ValueError):
    """A grid zone that is in no table; the message names the nearest ones."""


class RecordingError(PyprofError):
    """A file that is missing, unreadable or not a recording."""


class NewerSchemaError(PyprofError):
    """A recording or a table written by a later version."""

    exit_status = 4


class NotComparableError(PyprofError):
    """Two values whose boundaries differ, so that their difference means nothing."""

    exit_status = 3


class SamplerError(PyprofError):
    """The native module is missing or could not start."""


class BaselineError(PyprofError):
    """A baseline that is missing, not one, or another machine's."""


def brief(error: BaseException) -> str:
    """What a library says, in one line that is not too long."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
