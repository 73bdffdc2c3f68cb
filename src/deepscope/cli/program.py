"""`deepscope`: parse, run, print; exit status 0 done, 2 the input is wrong, 1 anything else."""

from __future__ import annotations

import contextlib
import io
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
from deepscope.cli.usage import mistaken, refusal, spelled
from deepscope.command import Command, NotKept, PartFailed, perform
from deepscope.command.output import output_folder, refuse_data
from deepscope.errors import DeepscopeError, FileError, SettingError, out_of_memory
from deepscope.models import ModelOptions
from deepscope.names import one_line, storable
from deepscope.results import Result
from deepscope.session import Session, first_process

_INTERRUPTED = 130  # what shells expect of a program that ctrl-C stopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit status."""
    root = App()  # until the commands are built, which ctrl-C may stop
    try:
        root = app(shlex.join(["deepscope", *arguments]))
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


def app(typed: str = "") -> App:
    """The whole command line.

    Args:
        typed: the command line, for the result's provenance.
    """
    root = App(
        name="deepscope",
        help="Use any image classifier, look inside it, attack it, adapt it to another domain, and generate data "
        "for it, with every claim measured.",
        help_epilogue="Example: deepscope classify cat.jpg",
        version=__version__,
        default_parameter=Parameter(negative_iterable=()),
        suppress_keyboard_interrupt=False,  # cyclopts would end the program silently
    )

    def execute(command: Command, common: Common) -> None:
        _execute(command, common, typed)

    add_commands(root, execute)
    root.register_install_completion_command()
    return root


def _execute(command: Command, common: Common, typed: str) -> None:
    speaks = first_process()  # for all processes under `torchrun`
    session = Session.open(
        device=common.device,
        precision=common.precision,
        seed=common.seed,
        quiet=common.quiet or not speaks,
        out=_normal(common.out),
    )
    session = _with_options(command, common, session)
    if session.out:
        _prepare(session.out, command, session)
    folder = session.out if speaks else None
    failure: Exception | None = None
    with output_folder(folder, type(command), session) if folder else contextlib.nullcontext():
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
            try:
                result = perform(command, session, typed=typed)
            except NotKept as error:
                result, failure = error.result, error
            try:
                if folder and not failure:
                    render.save(result, folder, writer=command.command_path())
            except Exception as error:  # what was computed is still shown
                failure = error
        if speaks:
            _print(result, common, None if failure else folder)
    if failure:
        raise failure


def _with_options(command: Command, common: Common, session: Session) -> Session:
    """The session, in which the command's model has the options that were given for it."""
    model = getattr(command, "model", None)
    if model is None and common.of_model != ModelOptions():
        raise SettingError("--model", "must name the model that --architecture and --classes describe")
    return common.of_model.within(session, str(model))


def _print(result: Result, common: Common, folder: Path | None) -> None:
    """Write the result to stdout, where only a full disk can lose it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
    try:
        if common.json:
            print(render.dumps(result))
        else:
            render.show(result, Console(), folder=folder)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if sys.stdout is sys.__stdout__:  # or Python would try again when it ends
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
        kept = f"it is saved in {folder}" if folder else "free some space, or save it with --out"
        raise FileError(f"the result cannot be written to standard output ({error.strerror}): {kept}") from None


def _normal(folder: Path | None) -> Path | None:
    """The folder, without ".." below a folder that is not there: making it would leave an empty folder on the way."""
    if folder is not None and str(folder) != storable(str(folder)):
        raise SettingError("--out", f"{folder} is not UTF-8, and weights in it could not be read: name another folder")
    try:
        there = folder and next(path for path in (folder, *folder.parents) if path.exists())
        return folder.resolve() if folder and there and ".." in folder.relative_to(there).parts else folder
    except (OSError, RuntimeError, StopIteration):  # a circle of links: `_prepare` says so
        return folder


def _prepare(folder: Path, command: Command, session: Session) -> None:
    """Make the folder if it is not there: better refused now than after hours of work."""
    try:
        refuse_data(folder, command, session)
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"cannot write to --out {folder} ({reason}): name a writable folder", path=folder) from None


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
