"""Commands as a user without any right, wherever this Python is installed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sim.overlay import NOBODY, as_nobody

# A copy of the view of the file system in which the closed folder holds nothing but this Python.
_OPENED = """
mount --rbind "$1" "$2" && mount -t tmpfs -o mode=755 none "$3" && mkdir -p "$1" &&
mount --rbind "$2" "$1" && shift 3 && exec "$@"
"""


def why_not() -> str | None:
    """The reason, in words, if nobody else can be played here."""
    if os.geteuid() != 0:
        return "only root can be another user"
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        return "there is no setpriv or no unshare"
    return None


def run(
    words: tuple[str, ...], folder: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs ``words`` in ``folder``, which that user owns from now on."""
    os.chown(folder, NOBODY, NOBODY)
    return subprocess.run(
        (*_prefix(folder), *as_nobody(), *words),
        cwd=folder,
        env={**os.environ, **env, "HOME": str(folder), "USER": "nobody", "LOGNAME": "nobody"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _prefix(folder: Path) -> list[str]:
    installed = Path(sys.base_prefix).resolve()
    closed = [each for each in installed.parents if not each.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return []
    place = folder.parent / "python"
    place.mkdir(exist_ok=True)
    outermost = closed[-1]
    return [
        *("unshare", "--mount", "sh", "-c", _OPENED, "sh"),
        *(str(installed), str(place), str(outermost)),
    ]
