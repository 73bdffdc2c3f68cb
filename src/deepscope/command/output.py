"""The folder that a command writes its result to: one command at a time, never into its data or over foreign files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepscope import records
from deepscope.command.command import Command
from deepscope.data import Dataset
from deepscope.data.corrupt import check_outside
from deepscope.data.dataset import path_of
from deepscope.errors import FileError
from deepscope.files import lock
from deepscope.registry import discover
from deepscope.session import Session

TEXTS = ("data", "dataset", "source", "target", "train")
"""Arguments of commands that name data by text: a dataset, or a folder."""


def refuse_data(folder: Path, command: Command, session: Session) -> None:
    """Refuse an output folder that is, or is inside, a folder the command reads images from.

    The figures of a result look like any other image: the next command would read them as data. A folder for the
    result alone may lie below a plain folder of images, where `images.find` passes over it, but not below a dataset,
    whose folders are classes.

    Raises:
        FileError: it is, also by way of links and other spellings.
    """
    found = [(name, path) for name, value in vars(command).items() for path in _folders(value, name, session)]
    read = [path for name, path in found if name in TEXTS or not _apart(folder, path)]
    below = [
        Path(parent, name)
        for data in read
        for parent, folders, _ in os.walk(data)
        for name in folders
        if os.path.islink(os.path.join(parent, name))  # noqa: PTH114, PTH118 (data can hold a great many folders)
    ]
    check_outside(folder, [*read, *below])


def _apart(folder: Path, data: Path) -> bool:
    """Whether a folder lies below the data, without links on the way, and is for a result alone."""
    place, root = Path(os.path.abspath(folder)), Path(os.path.abspath(data))  # noqa: PTH100 (resolve would follow links)
    if place == root or not place.is_relative_to(root) or place.resolve() != root.resolve() / place.relative_to(root):
        return False
    return not os.path.lexists(place) or records.ours(place) or (place.is_dir() and not any(place.iterdir()))


def _folders(value: object, name: str, session: Session) -> Iterator[Path]:
    """The folders of images that an argument of a command names; a model's folder is not one."""
    if isinstance(value, str) and name in TEXTS:
        if value in Dataset.members():
            needed = [path_of(session.home, need) for need in Dataset.members()[value].needs]
        else:
            needed = [Path(value).expanduser()]
        yield from (path for path in needed if _is_folder(path))
    for path in value if isinstance(value, tuple) else (value,):
        if isinstance(path, Path) and _is_folder(path) and not _made(path):
            yield path


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 (False for a name that the system refuses)


def _made(folder: Path) -> set[str]:
    """The files of models and trainings that the folder holds."""
    discover("deepscope.commands")  # each says what it makes; they stand above this module
    return {name for other in Command.concrete() for name in other.makes if os.path.lexists(folder / name)}


@contextmanager
def output_folder(folder: Path, command: type[Command], session: Session) -> Iterator[None]:
    """Reserve the folder for this command until the block ends.

    A folder that holds a model is for the command that made the model: another result would replace the record of
    how it was fitted. A result without a model may be replaced by any command. Files of other programs are left alone.

    Raises:
        FileError: another process writes to the folder, it holds the model of another command, or another
            program's file has the name of one that a result needs.
    """
    with lock(folder, unsupported=session.note):
        held = _made(folder)
        records.refuse_foreign(folder)
        writer = records.written_by(folder)
        if held - set(command.makes) or (held and writer not in ("", command.command_path())):
            owner = f"`deepscope {writer}`" if writer else "another command"
            raise FileError(
                f"{folder} holds {' and '.join(sorted(held))} of {owner}, whose record this result would replace: "
                f"name another folder",
                path=folder,
            )
        yield
