"""Starting a workload so that it can't tell the difference, and ending the way it ended."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

from pyprof.errors import PyprofError

NOT_EXECUTABLE = 126
NOT_FOUND = 127

# What a user sends to a program by its pid. Those that were inherited as ignored stay alone.
_PASSED_ON = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTSTP,
    signal.SIGCONT,
)
_ENDING = frozenset(_PASSED_ON) - {signal.SIGTSTP, signal.SIGCONT}
# Python ignores these two at its start; what came before can't be known, the default is usual.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
# Ctrl-Z reaches both of us, not at one instant: time for the second to get it.
_STOP_GRACE_S = 0.02
_PR_SET_DUMPABLE = 4


class LaunchError(PyprofError):
    """The workload could not be started: 126 not executable, 127 not found."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: one of the two is None."""

    exit_status: int | None
    signal: int | None


def fill_standard_streams() -> None:
    """Puts /dev/null where 0, 1 or 2 is closed, so that no file of ours lands there.

    Descriptors made by Python are not inherited: the workload still finds them closed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def expand(words: Sequence[str]) -> list[str]:
    """The command as the system takes it: ``-m``, ``-c`` and ``NAME.py`` mean this Python."""
    first = words[0]
    if first in ("-m", "-c") or _is_script(first):
        if not sys.executable:
            raise LaunchError("this Python does not know its own path: name one", NOT_FOUND)
        return [sys.executable, *words]
    return list(words)


def _is_script(word: str) -> bool:
    """A Python file that does not choose its interpreter itself."""
    return word.endswith(".py") and not ("/" in word and os.access(word, os.X_OK))


def program_name(words: Sequence[str]) -> str:
    """The program's name without its arguments: the module, the script, or the base name."""
    if words[0] == "-m" and len(words) > 1:
        return words[1]
    if words[0] == "-c":
        return "python"
    return os.path.basename(words[0]) or words[0]


def find_program(name: str, environ: Mapping[str, str]) -> str:
    """The file that ``execvp`` would run, or a :class:`LaunchError` that says why none."""
    if "/" in name:
        return _check_program(name, name)
    denied = None
    for folder in environ.get("PATH", "/bin:/usr/bin").split(":"):
        try:
            return _check_program(os.path.join(folder or ".", name), name)
        except LaunchError as error:
            denied = error if error.exit_status == NOT_EXECUTABLE else denied
    raise denied or LaunchError(f"{name}: command not found", NOT_FOUND)


def _check_program(path: str, name: str) -> str:
    """``path`` if it is a file that may be executed."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise _launch_error(name, error) from None
    if stat.S_ISDIR(mode):
        raise LaunchError(f"{name}: is a directory", NOT_EXECUTABLE)
    if not os.access(path, os.X_OK):
        raise LaunchError(f"{name}: permission denied", NOT_EXECUTABLE)
    return path


def _launch_error(name: str, error: OSError) -> LaunchError:
    """The status that shells give for this errno."""
    missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
    reason = os.strerror(error.errno or 0).lower()
    return LaunchError(f"{name}: {reason}", NOT_FOUND if missing else NOT_EXECUTABLE)


class Signals:
    """Signals held back from this process, to be passed on to the workload.

    Made before any thread is started, since threads inherit the mask.
    """

    def __init__(self) -> None:
        self._held = {
            signal.SIGCHLD,
            *(each for each in _PASSED_ON if signal.getsignal(each) is not signal.SIG_IGN),
        }
        # A parent that ignores SIGCHLD would have the kernel throw our child's status away.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.inherited = signal.pthread_sigmask(signal.SIG_BLOCK, self._held)

    def wait(self) -> signal.struct_siginfo:
        """The next signal, with its sender."""
        return signal.sigwaitinfo(self._held)

    def pending(self) -> int | None:
        """A signal that would have ended this process by now."""
        return min(signal.sigpending() & _ENDING & self._held, default=None)

    def let_interrupt(self, warn: Callable[[], None]) -> None:
        """From now on the second Ctrl-C interrupts. Those before were the workload's."""
        if signal.SIGINT not in self._held:
            return
        while signal.sigtimedwait({signal.SIGINT}, 0):
            pass

        def ask_once(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            warn()

        signal.signal(signal.SIGINT, ask_once)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT} - self.inherited)


class Workload:
    """A running child in this process's group, with its streams and descriptors untouched."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], signals: Signals) -> None:
        """Starts ``argv``; a command that can't be run raises :class:`LaunchError`."""
        self._signals = signals
        self._is_stopped = False
        path = find_program(argv[0], environ)
        try:
            self.pid = self._spawn(path, argv, environ)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise _launch_error(argv[0], error) from None
            # A script without a first line: execvp and every shell give it to sh.
            self.pid = self._spawn("/bin/sh", ["/bin/sh", path, *argv[1:]], environ)

    def _spawn(self, path: str, argv: Sequence[str], environ: Mapping[str, str]) -> int:
        """vfork and exec, without Python's fork handlers and without a copy of our memory."""
        return os.posix_spawn(
            path,
            list(argv),
            dict(environ),
            setsigmask=self._signals.inherited,
            setsigdef=_IGNORED_BY_PYTHON,
        )

    def wait(self) -> Ending:
        """Passes signals on until the child has ended."""
        while True:
            received = self._signals.wait()
            if received.si_signo != signal.SIGCHLD:
                self._pass_on(received)
            elif ending := self._look():
                return ending

    def _pass_on(self, received: signal.struct_siginfo) -> None:
        """Sends on what was sent to us; what the kernel sent reached the whole group already."""
        if received.si_code > 0:
            return
        if received.si_signo != signal.SIGCONT or self._is_stopped:
            os.kill(self.pid, received.si_signo)

    def _look(self) -> Ending | None:
        """What became of the child. It is reaped here alone, so its pid stays its own."""
        flags = os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOHANG
        seen = os.waitid(os.P_PID, self.pid, flags | os.WNOWAIT)
        if seen is None:
            return None
        if seen.si_code == os.CLD_STOPPED:
            time.sleep(_STOP_GRACE_S)
        seen = os.waitid(os.P_PID, self.pid, flags)
        if seen is None:
            return None
        if seen.si_code == os.CLD_EXITED:
            return Ending(seen.si_status, None)
        if seen.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            return Ending(None, seen.si_status)
        self._is_stopped = seen.si_code == os.CLD_STOPPED
        if self._is_stopped:
            _stop_like(seen.si_status)
        return None


def _stop_like(number: int) -> None:
    """Stops this process as its child was, so that the shell sees a stopped job."""
    if number in _STOPS:
        # Ctrl-Z left one for us as well: let in with ours, it would stop us a second time.
        while signal.sigtimedwait({signal.SIGTSTP}, 0):
            pass
        # Without a shell to continue us the kernel ignores these three: nothing hangs.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_kill(threading.get_ident(), number)
        signal.pthread_sigmask(signal.SIG_BLOCK, {number} & {signal.SIGTSTP})
    elif _is_foreground():
        os.kill(os.getpid(), signal.SIGSTOP)


def _is_foreground() -> bool:
    """Whether a shell with job control is waiting for our group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp() != os.getsid(0)
    except OSError:
        return False
    finally:
        os.close(terminal)


def end_like(ending: Ending) -> int:
    """The status to exit with; after a signal this process dies by the same one."""
    if ending.signal is None:
        return ending.exit_status or 0
    die_by(ending.signal)
    return 128 + ending.signal


def die_by(number: int) -> None:
    """Ends this process by a signal, without a core dump: the workload's own is the useful one."""
    _flush()
    _forbid_core()
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


def _flush() -> None:
    """Writes what Python still holds."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass


def _forbid_core() -> None:
    """No core file, and none through a pipe handler, which does not ask for the limit."""
    try:
        import ctypes

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (ImportError, OSError, ValueError):
        pass
