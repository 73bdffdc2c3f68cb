"""The folder that a command writes its result to: one command at a time, and never over another command's model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepscope import records
from deepscope.errors import InputError
from deepscope.files import lock
from deepscope.jobs.job import Job
from deepscope.session import Session


@contextmanager
def output_folder(folder: Path, job: type[Job], session: Session) -> Iterator[None]:
    """Keep the folder for this command until the block ends.

    A folder that holds a model is for the command that made the model: another result would replace the record of
    how it was fitted. A result without a model may be replaced by any command.

    Raises:
        InputError: another process writes to the folder, or it holds the model of another command.
    """
    with lock(folder, unsupported=session.note):
        held = {name for other in Job.concrete() for name in other.makes if (folder / name).exists()}
        writer = records.written_by(folder)
        if held - set(job.makes) or (held and writer not in ("", job.command())):
            owner = f"`deepscope {writer}`" if writer else "another command"
            raise InputError(
                f"{folder} holds {' and '.join(sorted(held))} of {owner}, whose record this result would replace: "
                f"name another folder with --out"
            )
        yield
