"""Run the command of a command line: open the session, perform, print, save."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from deepscope import render
from deepscope.cli.signature import Common
from deepscope.command import Command, NotKept, NotMet, perform
from deepscope.command.output import output_folder, refuse_data
from deepscope.devices import first_process
from deepscope.errors import FileError, SettingError
from deepscope.models import ModelOptions
from deepscope.names import storable
from deepscope.results import Result
from deepscope.session import Session


def execute(command: Command, common: Common, typed: str) -> None:
    """Run a command with the common flags.

    Args:
        command: what to run.
        common: how.
        typed: the command line, for the result's provenance.
    """
    speaks = first_process()  # for all processes under `torchrun`
    session = Session.open(
        device=common.device,
        precision=common.precision,
        engine=common.engine,
        seed=common.seed,
        quiet=common.quiet or not speaks,
        out=_normal(common.out),
    )
    session = _with_options(command, common, replace(session, figure_format=common.figure_format))
    made = _prepare(session.out, command, session) if session.out else ()
    folder = session.out if speaks else None
    failure: Exception | None = None
    with (
        output_folder(folder, type(command), session) if folder else contextlib.nullcontext(),
        _without_empty(made if speaks else ()),
    ):
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the result alone
            try:
                result = perform(command, session, typed=typed)
            except (NotKept, NotMet) as error:
                result, failure = error.result, error
            saved = folder is not None and not isinstance(failure, NotKept)
            try:
                if folder and saved:
                    render.save(result, folder, writer=command.command_path(), figure_format=common.figure_format)
            except Exception as error:  # what was computed is still shown
                failure, saved = error, False
        if speaks:
            _print(result, common, folder if saved else None)
    if failure:
        raise failure


def _with_options(command: Command, common: Common, session: Session) -> Session:
    """The session, in which the command's model has the options that were given for it."""
    model = getattr(command, "model", None)
    if model is None and common.of_model != ModelOptions():
        flags = "--architecture, --classes, --head, --thresholds, --preprocessing and --gradients"
        raise SettingError("--model", f"must name the model that {flags} describe")
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


@contextlib.contextmanager
def _without_empty(made: Sequence[Path]) -> Iterator[None]:
    """Remove those of the folders, the innermost first, that nothing was written to by the end of the block."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it is not empty, and so are those around it
            for path in made:
                path.rmdir()


def _prepare(folder: Path, command: Command, session: Session) -> Sequence[Path]:
    """Make the folder if it is not there: better refused now than after hours of work.

    Returns:
        The folders that were made, the innermost first.
    """
    try:
        refuse_data(folder, command, session)
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return made
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"cannot write to --out {folder} ({reason}): name a writable folder", path=folder) from None
