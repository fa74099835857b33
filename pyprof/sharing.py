"""A command's part in a run that several processes of a host record in one folder."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyprof import host, runfolder, stagelog
from pyprof.errors import UsageError
from pyprof.runfolder import Surrounding

if TYPE_CHECKING:
    from pyprof.energy import EnergyReport
    from pyprof.hardware import Look
    from pyprof.recording import Recording
    from pyprof.sampling import Sampling


class SharedRun:
    """One of several ``pyprof run`` or ``Profiler`` with the same folder; used like a session.

    It samples what none of the others does, and its report covers its own time.
    """

    def __init__(self, look: Look, folder: Path, phase: str, sampling: Sampling) -> None:
        """Nothing is opened before ``start``."""
        self._look = look
        self._sampling = sampling
        self._run = Surrounding(Path(os.path.abspath(folder)), phase)
        self._log: stagelog.StageLog | None = None
        self._start_ns = 0
        self._end_ns: int | None = None
        self.folder: Path | None = None
        """None: it is not this run's own, to be folded or removed."""

    @property
    def environment(self) -> dict[str, str]:
        """What the command's processes need to find the folder."""
        return runfolder.environment(self._run.folder, self._run.phase)

    def start(self) -> None:
        """Join, and sample what nobody reads yet."""
        runfolder.share(self._run.folder)
        self._log = stagelog.StageLog(self._run)
        self._log.start()
        self._log.sample(self._look, self._sampling)
        self._start_ns = time.monotonic_ns()

    def stop(self, exit_status: int | None = None, signal: int | None = None) -> None:
        """The end counts from the call; others take over what was read here."""
        if self._log is not None and self._end_ns is None:
            self._end_ns = time.monotonic_ns()
            self._log.rest()

    def fold(self) -> Path:
        """Others may still be at work: whoever reads it last makes one file of the folder."""
        return self._run.folder

    @property
    def recording(self) -> Recording:
        """What all of them have recorded up to now."""
        if self._log is None:
            raise UsageError("nothing was measured yet: start first")
        end_ns = time.monotonic_ns() if self._end_ns is None else self._end_ns
        return stagelog.recording_so_far(self._log, end_ns)

    def energy(self) -> EnergyReport:
        """Joules of this command's own time."""
        from pyprof.joining import join_folder

        recording = join_folder(self.recording, self._run.folder)
        shift_ns = recording.process.offset_ns - host.monotonic_offset_ns()
        end_ns = time.monotonic_ns() if self._end_ns is None else self._end_ns
        return recording.energy(self._start_ns + shift_ns, end_ns + shift_ns, self._run.phase)
