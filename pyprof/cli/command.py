"""From words to a verb, and from anything that goes wrong to one sentence and a status."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from pyprof.cli import VERBS
from pyprof.errors import PyprofError, UsageError
from pyprof.export.terminal import drop_output, say, write

DISTRIBUTION = "pyprof-energy"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_EXAMPLES = """\
examples:
  pyprof run -- python train.py             measure a command
  pyprof run --zone FR -o a.pyprof train.py the same with carbon and a name
  pyprof report a.pyprof --zone DE          account for it again elsewhere
  pyprof doctor                             what can be read on this machine

exit status: run gives the command's own (125 if pyprof itself can't start, 126 not executable,
127 not found); the others 0, 1 a finding, 2 usage or not a recording, 4 a newer recording.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raises instead of printing the usage."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def run_command(argv: Sequence[str] | None, interrupt: Any) -> int:
    """One command line; never a traceback, unless PYPROF_DEBUG asks for it.

    ``interrupt`` is what SIGINT did before this package was loaded.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    verb = words[0] if words else ""
    try:
        if interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)
        status = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except PyprofError as error:
        if os.environ.get("PYPROF_DEBUG") == "1":
            raise
        say(str(error))
        return _error_status(verb, error)
    except KeyboardInterrupt:
        return _die_quietly(signal.SIGINT)
    except BrokenPipeError:
        return _die_quietly(signal.SIGPIPE)
    except Exception as error:
        if os.environ.get("PYPROF_DEBUG") == "1":
            raise
        if isinstance(error, OSError) and error.errno in _FULL:
            drop_output()
            fault = PyprofError(f"the output can't be written: {os.strerror(error.errno)}")
            say(str(fault))
            return _error_status(verb, fault)
        fault = PyprofError(f"a fault of pyprof itself: {type(error).__name__}: {error}")
        say(f"{fault} (PYPROF_DEBUG=1 shows where)")
        return _error_status(verb, fault)


def _run(words: list[str]) -> int:
    """The verb's own status."""
    if not words or words[0] in ("-h", "--help", "help"):
        return _help(words)
    if words[0] in ("-V", "--version"):
        write(sys.stdout, f"pyprof {_version()}\n")
        return 0
    if words[0] not in VERBS:
        raise UsageError(f"{words[0]!r} is no verb of pyprof: use {', '.join(VERBS)}")
    return _run_verb(words[0], words[1:])


def _run_verb(verb: str, words: list[str]) -> int:
    """Parses the words of a verb and runs it."""
    module = _load(verb)
    own, command = module.split_command(words) if hasattr(module, "split_command") else (words, [])
    args = _parser(verb, module).parse_args(own)
    args.command = command
    return int(module.run(args))


def _parser(verb: str, module: ModuleType) -> Parser:
    """The parser of one verb."""
    parser = Parser(
        prog=f"pyprof {verb}",
        usage=getattr(module, "USAGE", None),
        description=module.HELP,
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return parser


def _load(verb: str) -> ModuleType:
    """The module of a verb."""
    return import_module(f"pyprof.cli.{verb}")


def _error_status(verb: str, error: PyprofError) -> int:
    """The status of an error, which a verb may choose itself."""
    chosen = getattr(sys.modules.get(f"pyprof.cli.{verb}"), "error_status", None)
    return int(chosen(error)) if chosen else error.exit_status


def _help(words: list[str]) -> int:
    """The overview, or the help of the verb named after ``help``."""
    if len(words) > 1 and words[1] in VERBS:
        return _run_verb(words[1], ["--help"])
    verbs = "\n".join(f"  {name:<11}{line}" for name, line in VERBS.items())
    text = (
        "usage: pyprof VERB ...\n\n"
        "Energy and carbon of a workload: every joule says whether it was measured or modelled.\n\n"
        f"verbs:\n{verbs}\n\n{_EXAMPLES}\n'pyprof VERB --help' tells more; --version the version.\n"
    )
    write(sys.stdout if words else sys.stderr, text)
    return 0 if words else 2


def _version() -> str:
    """The version of this package."""
    from pyprof import __version__

    return __version__


def _die_quietly(number: int) -> int:
    """Ends by the signal, as a program without a word for it does."""
    from pyprof.launch import die_by

    if number == signal.SIGPIPE:
        drop_output()
    die_by(number)
    return 128 + number
