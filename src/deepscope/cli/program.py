"""`deepscope`: parse, run, print; exit status 0 done, 2 the input is wrong, 130 and 143 stopped, 1 anything else."""

from __future__ import annotations

import gc
import itertools
import os
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, Parameter

from deepscope.cli import outline, stops_at_once
from deepscope.cli.usage import mistaken, parsed, refusal, spelled
from deepscope.errors import DeepscopeError, PartFailed, out_of_memory
from deepscope.interrupts import interrupt_again
from deepscope.names import one_line

if TYPE_CHECKING:
    from deepscope.cli.signature import Common
    from deepscope.command import Command

_INTERRUPTED = 130  # what shells expect of a program that ctrl-C stopped
_TERMINATED = 143  # and of one that SIGTERM stopped: job schedulers and containers send it
_terminated = threading.Event()
"""Set by SIGTERM."""
_HELP = frozenset({"--help", "-h", "--version"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    gc.set_threshold(50_000)  # libraries allocate much while they load, and none of it is garbage
    sys.unraisablehook = interrupt_again
    status = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_TERMINATED if _terminated.is_set() else status)  # also of a command that keeps what it has and ends well


def _terminate(*_: object) -> None:
    _terminated.set()
    raise KeyboardInterrupt  # the command stops as after ctrl-C


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit status."""
    root = App()  # until the commands are built, which ctrl-C may stop
    try:
        root = _for(arguments)
        arguments = spelled(root, arguments)
        root(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _say(refusal(error, root, arguments), 2)
    except DeepscopeError as error:
        return _say(mistaken(error, root, arguments), 2)
    except PartFailed as error:
        return _say(str(error), 1)
    except KeyboardInterrupt:
        return _say("stopped; finished files are kept, none is half-written", _INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 1
    except OSError as error:
        return _say(_what_failed(error), 2)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return _say("there is not enough memory: give fewer or smaller images, or close other programs", 2)
    return 0


def app(typed: str = "", only: type[Command] | None = None) -> App:
    """The whole command line, or the part of it that one command needs.

    Args:
        typed: the command line, for the result's provenance.
        only: the command.
    """
    with stops_at_once():
        from deepscope.cli.commands import add_commands

        root = _root()

        def execute(command: Command, common: Common) -> None:
            _execute(command, common, typed)

        add_commands(root, execute, only)
    return root


def _for(arguments: Sequence[str]) -> App:
    """What answers a command line: the outline shows help, one command runs alone, all commands correct mistakes."""
    typed = shlex.join(["deepscope", *arguments])
    kept = outline.stored()
    if kept is None:
        return app(typed)
    pages = _root()
    outline.add_outlined(pages, kept)
    help_wanted = not _HELP.isdisjoint(itertools.takewhile("--".__ne__, arguments))
    chain, group, rest = parsed(pages, [word for word in spelled(pages, arguments) if word not in _HELP])
    if group and any(not word.startswith("-") for word in rest):
        return app(typed)  # the word may be a mistyped command
    if help_wanted or (group and not rest and not outline.runs(kept, chain)):
        return pages
    with stops_at_once():
        only = outline.command(kept, chain)
    return app(typed, only)


def _root() -> App:
    root = App(
        name="deepscope",
        help="Use any image classifier, look inside it, attack it, adapt it to another domain, and generate data "
        "for it, with every claim measured.",
        help_epilogue="Example: deepscope classify cat.jpg",
        version=_version,
        default_parameter=Parameter(negative_iterable=()),
        suppress_keyboard_interrupt=False,  # cyclopts would end the program silently
    )
    root.register_install_completion_command()
    return root


def _version() -> str:
    from deepscope import __version__

    return __version__


def _execute(command: Command, common: Common, typed: str) -> None:
    from deepscope.cli.execution import execute

    execute(command, common, typed)


def _what_failed(error: OSError) -> str:
    """What the system refused, and for which file."""
    reason = error.strerror or str(error) or type(error).__name__
    names = " and ".join(
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)
    )
    return f"{names}: {reason}".removeprefix(": ")


def _say(message: str, status: int) -> int:
    """Print the one line that a command ends with; returns the exit status."""
    print(f"deepscope: {one_line(message)}", file=sys.stderr)
    return status
