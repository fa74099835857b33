"""``pyprof run``: a command measured from outside. Nothing of ours may change how it ends."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pyprof.cli import options
from pyprof.energy import PHASES
from pyprof.errors import BaselineError, PyprofError, UsageError
from pyprof.export.terminal import (
    MAX_WIDTH,
    MIN_WIDTH,
    drop_output,
    say,
    usable_width,
    wants_colour,
    write,
)
from pyprof.launch import (
    Ending,
    LaunchError,
    Signals,
    Workload,
    die_by,
    end_like,
    expand,
    fill_standard_streams,
    find_program,
    program_name,
)

if TYPE_CHECKING:
    from pyprof.carbon import Scenario
    from pyprof.energy import EnergyReport
    from pyprof.session import Session
    from pyprof.sharing import SharedRun

NAME = "run"
HELP = "Measure a command: its energy and carbon, stage by stage."
USAGE = "pyprof run [options] [--] CMD ... | -m MODULE ... | SCRIPT.py ... | -c CODE ..."
EXAMPLES = """\
examples:
  pyprof run -- python train.py --epochs 3
  pyprof run --zone FR -o train.pyprof train.py
  pyprof run --json energy.json -q -m my_package.train
  pyprof run -- torchrun --nproc-per-node 8 train.py
  srun -N1 -n4 pyprof run -o train.pyprof.d -- python train.py    (they share one recording)

The command's output and exit status pass through, and a signal that kills it ends pyprof as well;
pyprof's own words go to stderr. A signal sent to pyprof alone is passed on; one that another
process sends to the whole process group may reach the command twice. Statuses of its own, before
the command has started: 125 usage, 126 not executable, 127 not found.
"""

_ERROR_STATUS = 125
_FLAGS = {
    *("--help", "--force", "--quiet", "--no-model", "--record-argv", "--redact", "--sync"),
    "--conditions",
}
_NAME_LENGTH = 40
#: The name of a recording that several processes write together.
SHARED_SUFFIX = ".pyprof.d"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words before the command."""
    parser.add_argument("-o", "--out", metavar="FILE", help="the recording (default: a new name)")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite what exists")
    parser.add_argument("--json", metavar="FILE", help="the report as JSON, too (-: stdout)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print no report and no hint")
    parser.add_argument("--width", metavar="N", type=int, help="columns of the report")
    parser.add_argument(
        "--fallback-dir", metavar="DIR", help="where the recording goes on if its place fails"
    )
    parser.add_argument(
        "--keep-raw",
        metavar="T",
        type=options.parse_interval,
        help="readings older than T (2h, 1d) become roll-ups of a minute and more (default: never)",
    )
    parser.add_argument("--phase", choices=PHASES, default="training", help="phase of the run")
    parser.add_argument(
        "--record-argv", action="store_true", help="keep the command's arguments in the recording"
    )
    parser.add_argument(
        "--sync", action="store_true", help="stages wait for the devices at both ends"
    )
    options.add_privacy(parser)
    options.add_place(parser)
    options.add_baseline(parser)
    parser.add_argument(
        "--cgroup", metavar="PATH", help="tell its share in the devices, not the command's"
    )
    options.add_conditions(parser)
    options.add_sampling(parser)
    options.add_hardware(parser)


def error_status(error: PyprofError) -> int:
    """Statuses that no command is likely to give itself, as of env, nice and timeout."""
    return error.exit_status if isinstance(error, LaunchError) else _ERROR_STATUS


def split_command(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own words and the command, which begins at ``--`` or at the first that is no option."""
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            return list(words[:index]), list(words[index + 1 :])
        if word in ("-m", "-c") or not word.startswith("-"):
            return list(words[:index]), list(words[index:])
        index += 2 if _takes_next(word) and words[index + 1 : index + 2] != ["--"] else 1
    return list(words), []


def _takes_next(word: str) -> bool:
    """Whether the value of an option is the word after it. Short flags may be joined: -qfo X."""
    if word.startswith("--"):
        return word not in _FLAGS and "=" not in word
    return word.lstrip("-").lstrip("fhq") == "o"


def run(args: argparse.Namespace) -> int:
    """Measures ``args.command`` and ends as it ended."""
    fill_standard_streams()
    if not args.command:
        raise UsageError("no command given: write it last, as in 'pyprof run -- python train.py'")
    if args.command[0] in ("-m", "-c") and len(args.command) == 1:
        raise UsageError(f"{args.command[0]} needs something to run after it")
    scenario = options.scenario(args)
    out = _output(args)
    argv = expand(args.command)
    find_program(argv[0], os.environ)
    if args.redact:
        from pyprof.privacy import activate

        activate()
    signals = Signals()
    measuring = _Measuring(args, out, scenario)
    measuring.start()
    if (early := signals.pending()) is not None:
        measuring.discard()
        die_by(early)
    try:
        workload = Workload(argv, {**os.environ, **measuring.environment}, signals)
    except LaunchError:
        measuring.discard()
        raise
    ending = workload.wait()
    signals.let_interrupt(lambda: say("finishing the report: once more to leave it"))
    measuring.finish(ending)
    return end_like(ending)


def _output(args: argparse.Namespace) -> Path:
    """Where the recording goes. What exists stays, unless -f says otherwise."""
    name = args.out or _default_name(program_name(args.command))
    for each in (name, args.json):
        if each and each != "-" and not args.force and _is_regular(each):
            raise UsageError(f"{each} exists: give another name, or -f to overwrite it")
    if args.json and os.path.realpath(args.json) == os.path.realpath(name):
        raise UsageError(f"{name} can't be both the recording and its JSON: give two names")
    if not args.force and os.path.isdir(f"{name}.d"):
        raise UsageError(
            f"{name}.d is left of a run that was cut short: 'pyprof report {name}' reads it; "
            "give another name, or -f to overwrite it"
        )
    return Path(name)


def _is_regular(name: str) -> bool:
    """Whether something is there that would be lost; devices and pipes are made to be written."""
    try:
        return stat.S_ISREG(os.stat(name).st_mode)
    except OSError:
        return os.path.islink(name)


def _default_name(program: str) -> str:
    """A name that no other run takes: program, time, pid."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", program).strip("-.")[:_NAME_LENGTH] or "command"
    return f"pyprof-{plain}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.pyprof"


class _Measuring:
    """The session around the workload. After its start no failure reaches the workload."""

    def __init__(self, args: argparse.Namespace, out: Path, scenario: Scenario) -> None:
        self._args = args
        self._out = out
        self._scenario = scenario
        self._session: Session | SharedRun | None = None
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        """Begins to measure. Only wrong usage is an error; else the workload runs unmeasured."""
        try:
            session = self._new_session()
            session.start()
            self._session, self.environment = session, session.environment
            if self._args.sync and self.environment:
                from pyprof.runfolder import SYNC_VARIABLE

                self.environment = {**self.environment, SYNC_VARIABLE: "1"}
        except (UsageError, BaselineError):
            raise
        except Exception as error:
            _complain("nothing is measured", error)

    def _new_session(self) -> Session | SharedRun:
        """A session with the choices of the command line."""
        from pyprof.carbon import keep_text
        from pyprof.session import Session
        from pyprof.usage import Party

        args = self._args
        if self._out.name.endswith(SHARED_SUFFIX):
            from pyprof.sharing import SharedRun

            return SharedRun(options.look(args), self._out, args.phase, options.sampling(args))
        return Session(
            options.look(args),
            out=self._out,
            phase=args.phase,
            sampling=options.sampling(args),
            command=program_name(args.command),
            folder=True,
            overwrite=args.force,
            argv=args.command if args.record_argv else None,
            kept=keep_text(self._scenario),
            baseline=args.baseline,
            party=Party(os.getpid(), with_root=False, cgroup=args.cgroup),
            fallback_dir=None if args.fallback_dir is None else Path(args.fallback_dir),
            keep_raw_s=args.keep_raw,
        )

    def discard(self) -> None:
        """The workload never ran: leaves nothing behind."""
        if self._session is None:
            return
        from pyprof.runfolder import remove

        try:
            self._session.stop()
            if self._session.folder is not None:
                remove(self._session.folder)
        except Exception as error:
            _complain("the empty recording stays", error)

    def finish(self, ending: Ending) -> None:
        """Stops, folds the recording, and tells what it holds: no step hinders the next."""
        session = self._session
        if session is None:
            return
        try:
            _step(
                "the recording could not be ended",
                lambda: session.stop(ending.exit_status, ending.signal),
            )
            written = _step("the recording stays in its folder", session.fold)
            _step("the report could not be made", lambda: self._tell(session.energy()))
            self._point_to(written)
            _step("what the agent lags could not be told", lambda: self._tell_lag(session))
        except KeyboardInterrupt:
            say(f"interrupted: 'pyprof report {self._out}' makes the report")

    def _tell(self, energy: EnergyReport) -> None:
        """JSON where asked, and the report on stderr."""
        if self._args.redact:
            from pyprof.privacy import active, redact_stages

            energy = redact_stages(energy, active())
        priced = _step("the carbon could not be computed", lambda: self._price(energy))
        report = energy if priced is None else priced
        if self._args.json is not None:
            _step("the JSON could not be made", lambda: _write_json(self._args.json, report))
        if not self._args.quiet:
            write(sys.stderr, "\n" + self._text(report))

    def _price(self, energy: EnergyReport) -> EnergyReport:
        """With its footprint, if a place is set."""
        from pyprof.recording import price

        return price(energy, self._scenario)

    def _point_to(self, written: Path | None) -> None:
        """Where the recording is and what to do with it."""
        if written is not None and not self._args.quiet:
            shown = os.path.relpath(written)
            say(f"recorded in {shown}; for another grid: pyprof report {shown} --zone Z")

    def _tell_lag(self, session: Session | SharedRun) -> None:
        """What a system service has read and not published yet."""
        from pyprof.layout import AGENT_KEY

        if self._args.quiet or AGENT_KEY not in session.recording.meta:
            return
        from pyprof.segments import lag_ns

        lag_s = lag_ns(session.recording) / 1e9
        if lag_s > 0:
            say(
                f"the last {lag_s:.1f} s of what the agent reads is not published yet: "
                f"'pyprof report {self._out}' adds them ten seconds from now"
            )

    def _text(self, report: EnergyReport) -> str:
        """The report as stderr wants it."""
        from pyprof.export.text import render

        wanted = self._args.width or usable_width()
        return render(
            report,
            colour=wants_colour(sys.stderr),
            width=max(MIN_WIDTH, wanted) if self._args.width else min(MAX_WIDTH, wanted),
            kind=self._scenario.kind,
            pue=self._scenario.pue,
        )


def _write_json(target: str, report: EnergyReport) -> None:
    """The report as JSON. A target that can't be written costs one sentence."""
    from pyprof.export.json import report_json

    text = report_json(report)
    try:
        if target == "-":
            write(sys.stdout, text)
            return
        with open(target, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        if target == "-":
            drop_output()
        shown = "stdout" if target == "-" else target
        say(f"{shown} can't be written: {os.strerror(error.errno or 0)}")


_T = TypeVar("_T")


def _step(what: str, action: Callable[[], _T]) -> _T | None:
    """What ``action`` gives; a failure costs one sentence that begins with ``what``."""
    try:
        return action()
    except BrokenPipeError:  # nobody reads any more
        return None
    except Exception as error:
        _complain(what, error)
        return None


def _complain(what: str, error: Exception) -> None:
    """One sentence; the whole story for those who ask for it."""
    if os.environ.get("PYPROF_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    reason: Any = error if isinstance(error, PyprofError) else f"{type(error).__name__}: {error}"
    say(f"{what} ({str(reason).splitlines()[0] if str(reason) else type(error).__name__})")
