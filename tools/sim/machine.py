"""A simulated machine: GPUs behind a library, RAPL zones in a tree, and the truth about both.

As a command, ``python tools/sim/machine.py FILE.toml -- CMD...`` runs CMD on such a machine.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    # The package is found from the folder above; inside this one its files would be modules.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from sim import tree
from sim.build import NVML, NVML_OLD, native
from sim.gpu import Gpu
from sim.waveform import Signal
from sim.zone import Zone


@dataclass(frozen=True, slots=True)
class Running:
    """A machine while it runs. Times are those of CLOCK_MONOTONIC, as time.monotonic_ns gives."""

    machine: Machine
    folder: Path
    epoch_ns: int
    tree_pid: int | None = None

    @property
    def sysfs(self) -> str:
        """What stands for /sys."""
        return str(self.folder / "sys")

    @property
    def nvml(self) -> str:
        """The library's path. On a machine without GPUs no such file exists."""
        return str(self.folder / "lib/libnvidia-ml.so.1")

    @property
    def nvml_spec(self) -> Path:
        return self.folder / "lib/machine.spec"

    @property
    def env(self) -> dict[str, str]:
        """What a child's environment needs, to be added to that of this process."""
        known = os.environ.get("LD_LIBRARY_PATH")
        search = os.pathsep.join([str(self.folder / "lib"), *([known] if known else [])])
        names = {"PYPROF_SYSFS": self.sysfs, "PYPROF_NVML": self.nvml, "LD_LIBRARY_PATH": search}
        return {**names, "SIM_NVML_SPEC": str(self.nvml_spec)}

    def truth_j(self, channel: str, from_mono_ns: int, to_mono_ns: int) -> float:
        """The energy that ``gpu0``, ``package-0``, ``package-0/dram`` … really used."""
        signal = self.machine.signals()[channel]
        return signal.between_j(from_mono_ns - self.epoch_ns, to_mono_ns - self.epoch_ns)

    def truth_w(self, channel: str, mono_ns: int) -> float:
        return self.machine.signals()[channel].power_w(mono_ns - self.epoch_ns)

    def set_processes(self, gpu: int, processes: Iterable[tuple[int, int, int]]) -> None:
        """Who uses a GPU from now on: process id, percent of its time, bytes of its memory."""
        path = self.folder / f"lib/processes-{gpu}"
        draft = path.with_suffix(".new")
        draft.write_text("".join(f"{p} {busy} {size}\n" for p, busy, size in processes))
        draft.replace(path)


@dataclass(frozen=True, slots=True)
class Machine:
    """What it is made of; ``running`` brings it to life."""

    gpus: Sequence[Gpu] = ()
    zones: Sequence[Zone] = ()
    driver: str = "570.86.15"
    old_driver: bool = False
    """A library without field values and without the energy counter."""
    sockets: int = 0
    """0: as many as there are packages, at least one."""
    cores_per_socket: int = 2
    _signals: dict[str, Signal] = field(default_factory=dict, init=False, repr=False, compare=False)

    def signals(self) -> dict[str, Signal]:
        """The true power of every channel, by the id that pyprof gives it."""
        if not self._signals:
            self._signals.update({f"gpu{i}": gpu.signal for i, gpu in enumerate(self.gpus)})
            self._signals.update({p.channel: p.zone.signal for p in tree.place(self.zones)})
        return self._signals

    @contextmanager
    def running(self, folder: Path) -> Iterator[Running]:
        """Builds what is missing, writes the machine into ``folder`` and keeps it alive."""
        folder = folder.resolve() / "machine"
        (folder / "lib").mkdir(parents=True)
        if self.gpus:
            self._install_library(folder / "lib")
        self._lay_out(folder / "sys")
        with ExitStack() as stack:
            epoch_ns = time.monotonic_ns()
            pid = self._start(folder, epoch_ns, stack)
            yield Running(self, folder, epoch_ns, pid)

    def _install_library(self, folder: Path) -> None:
        # A copy, not a link: each machine's library has a state of its own, also in one process.
        built = native(NVML_OLD if self.old_driver else NVML)
        shutil.copy(built, folder / "libnvidia-ml.so.1")

    def _lay_out(self, root: Path) -> None:
        packages = sum(
            zone.name.startswith("package") and zone.control == "intel-rapl" for zone in self.zones
        )
        sockets = self.sockets or max(1, packages)
        tree.lay_out(root, self.zones, sockets=sockets, cores_per_socket=self.cores_per_socket)

    def _start(self, folder: Path, epoch_ns: int, stack: ExitStack) -> int | None:
        (folder / "lib/machine.spec").write_text(self.nvml_spec(folder / "lib", epoch_ns))
        if not any(not placed.zone.unreadable for placed in tree.place(self.zones)):
            return None
        spec_path = folder / "tree.spec"
        spec_path.write_text(tree.spec(self.zones, epoch_ns))
        return stack.enter_context(tree.moving(folder / "sys", spec_path))

    def nvml_spec(self, folder: Path, epoch_ns: int) -> str:
        lines = [f"epoch_ns {epoch_ns}", f"driver {self.driver}"]
        for index, gpu in enumerate(self.gpus):
            lines += gpu.spec(index, str(folder / f"processes-{index}"))
        return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from sim.command import main

    raise SystemExit(main(sys.argv[1:]))
