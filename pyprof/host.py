"""Who and when: the identity of this host and boot, and the three clocks at one instant."""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from glob import glob

NS_PER_S = 1_000_000_000
_ANCHOR_TRIES = 5


@dataclass(frozen=True, slots=True)
class Anchor:
    """CLOCK_MONOTONIC, CLOCK_BOOTTIME and CLOCK_REALTIME of one instant, in ns."""

    mono_ns: int
    boot_ns: int
    wall_ns: int

    @property
    def asleep_ns(self) -> int:
        """How long this boot was suspended up to now; only its growth means anything."""
        return self.boot_ns - self.mono_ns

    @property
    def since_ns(self) -> int:
        """Wall-clock time at which CLOCK_MONOTONIC was 0."""
        return self.wall_ns - self.mono_ns

    def wall_of(self, mono_ns: int) -> int:
        """Wall-clock ns since 1970 of an instant given on CLOCK_MONOTONIC."""
        return self.wall_ns + (mono_ns - self.mono_ns)


def anchor() -> Anchor:
    """The three clocks, from the tightest of a few tries: the thread may be preempted between."""
    best: tuple[int, Anchor] | None = None
    for _ in range(_ANCHOR_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        if best is None or after - before < best[0]:
            best = (after - before, Anchor((before + after) // 2, boot, wall))
    assert best is not None
    return best[1]


def utc_text(wall_ns: int) -> str:
    """ISO 8601 with microseconds and ``Z``."""
    seconds, rest_ns = divmod(wall_ns, NS_PER_S)
    stamp = datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=rest_ns // 1000)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def boot_id() -> str | None:
    """Identity of this boot of the kernel: equal ones share CLOCK_MONOTONIC."""
    return _line("/proc/sys/kernel/random/boot_id")


def machine_id() -> str | None:
    """Identity of the installation, stable over boots."""
    return _line("/etc/machine-id") or _line("/var/lib/dbus/machine-id")


def hostname() -> str | None:
    """The host's own name for itself."""
    return socket.gethostname() or None


def cpu_name() -> str | None:
    """The processor's own name for itself."""
    return _field("/proc/cpuinfo", "model name")


def memory_kib() -> str | None:
    """The memory that the kernel has, KiB."""
    words = (_field("/proc/meminfo", "MemTotal") or "").split()
    return words[0] if words and words[0].isdigit() else None


def facts() -> dict[str, str]:
    """What a recording keeps of the machine; what is not known is left out."""
    found = {
        "cpu": cpu_name(),
        "memory_kib": memory_kib(),
        "kernel": _line("/proc/sys/kernel/osrelease"),
        "nvidia_driver": _line("/sys/module/nvidia/version"),
    }
    return {name: text for name, text in found.items() if text is not None}


def gpu_uuids(proc: str = "/proc") -> tuple[str, ...]:
    """UUIDs of the NVIDIA GPUs that the kernel's driver shows, without loading its library."""
    found = (_field(path, "GPU UUID") for path in glob(f"{proc}/driver/nvidia/gpus/*/information"))
    return tuple(sorted(uuid for uuid in found if uuid))


def monotonic_offset_ns() -> int:
    """What this process' time namespace adds to the host's CLOCK_MONOTONIC."""
    try:
        with open("/proc/self/timens_offsets", encoding="ascii") as offsets:
            for line in offsets:
                clock, seconds, rest_ns = line.split()
                if clock in ("monotonic", "1"):
                    return int(seconds) * NS_PER_S + int(rest_ns)
    except (OSError, ValueError):
        pass
    return 0


def program_name() -> str:
    """Base name of the program that runs; never its arguments."""
    name = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    if name in ("", "-c", "-m"):
        name = os.path.basename(sys.executable or "") or "python"
    return name


def _field(path: str, name: str) -> str | None:
    """The first value of that name in a file of ``name: value`` lines."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            values = (line.partition(":")[2].strip() for line in file if line.startswith(name))
            return next(values, None) or None
    except OSError:
        return None


def _line(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline(128).strip() or None
    except OSError:
        return None
