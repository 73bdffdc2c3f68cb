"""Why an input is not used: the errors, the records and their words."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deepscope.errors import InputError
from deepscope.names import printable


@dataclass(frozen=True)
class Skipped:
    """An input that could not be used, and why, in one line."""

    path: str
    reason: str


class UnreadableImage(InputError):
    """An image cannot be decoded; the message names it and says why.

    Attributes:
        reason: the why alone, for a table that has the name in another column.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be used: {reason}")
        self.reason = " ".join(reason.split())


class Refused(Exception):
    """Why a source is not even given to a decoder; becomes an `UnreadableImage`."""


def why(path: Path, error: OSError | ValueError) -> str:
    """Why a path cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "it is a link to a file that does not exist" if path.is_symlink() else "there is no such file or folder"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"it cannot be read: {reason}"


def label(source: object) -> str:
    """What to call a source in a message."""
    if not isinstance(source, (str, Path)):
        return f"the image given as {type(source).__name__}"
    return printable(os.fspath(source)).replace("\n", "\\n")
