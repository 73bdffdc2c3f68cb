"""`deepscope`: parse, run, print; exit status 0 done, 2 the input is wrong, 1 anything else."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from deepscope import __version__, render
from deepscope.cli.commands import Common, add_commands
from deepscope.cli.usage import mistaken, refusal
from deepscope.errors import InputError
from deepscope.jobs import Job, PartFailed, perform
from deepscope.names import one_line
from deepscope.session import Session

_INTERRUPTED = 130  # what shells expect of a program that ctrl-C stopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit status."""
    root = app(shlex.join(["deepscope", *arguments]))
    try:
        root(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _say(refusal(error, root, arguments), 2)
    except InputError as error:
        return _say(mistaken(error, root, arguments), 2)
    except PartFailed as error:
        return _say(str(error), 1)
    except KeyboardInterrupt:
        return _say("stopped; what was complete is kept, nothing is half-written", _INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 1
    return 0


def app(command: str = "") -> App:
    """The whole command line.

    Args:
        command: what was typed, for the result's provenance.
    """
    root = App(
        name="deepscope",
        help="Use any image classifier, look inside it, break it, move it to another domain, and generate data "
        "for it, with every claim measured.",
        help_epilogue="Example: deepscope classify cat.jpg",
        version=__version__,
        default_parameter=Parameter(negative_iterable=()),
    )

    def execute(job: Job, common: Common) -> None:
        _execute(job, common, command)

    add_commands(root, execute)
    root.register_install_completion_command()
    return root


def _execute(job: Job, common: Common, command: str) -> None:
    speaks = os.environ.get("RANK", "0") == "0"  # of the processes under `torchrun` the first, for all
    session = Session.open(
        device=common.device,
        precision=common.precision,
        seed=common.seed,
        quiet=common.quiet or not speaks,
        out=_writable(common.out),
    )
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
        result = perform(job, session, command=command)
        if speaks and session.out is not None:
            render.save(result, session.out)
    if not speaks:
        return
    if common.json:
        print(render.dumps(result))
    else:
        render.show(result, Console(), folder=session.out)


def _writable(folder: Path | None) -> Path | None:
    """The folder, made if it is not there: better refused now than after hours of work."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"cannot write to --out {folder} ({error.strerror}): name a folder that can be written"
        ) from None
    return folder


def _say(message: str, status: int) -> int:
    """Print the one line that a command ends with; returns the exit status."""
    print(f"deepscope: {one_line(message)}", file=sys.stderr)
    return status
