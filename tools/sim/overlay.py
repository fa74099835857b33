"""Prefixes for a command, so that unchanged programs see a simulated tree as the machine's own."""

from __future__ import annotations

import os
import shutil
import subprocess

NOBODY = 65534

_BIND = 'mount --bind "$0" /sys && exec "$@"'


def over_sys(sysfs: str) -> list[str]:
    """Runs what follows in a mount namespace of its own, with the tree bound over /sys."""
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root", "-m"]
    return [*namespace, "sh", "-c", _BIND, sysfs]


def as_nobody() -> list[str]:
    """Runs what follows without root's rights, to whom counters of mode 0400 are closed."""
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def bound_by_modes() -> list[str]:
    """Runs what follows as the same user, but without root's right to read what modes forbid."""
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def why_not_over_sys(sysfs: str) -> str | None:
    """The reason, in words, if this kernel does not let us; else None."""
    if shutil.which("unshare") is None:
        return "there is no unshare command"
    tried = subprocess.run([*over_sys(sysfs), "true"], capture_output=True, text=True)
    return None if tried.returncode == 0 else tried.stderr.strip()
