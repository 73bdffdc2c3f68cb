"""Inputs that cannot be used: errors, records and messages."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from deepscope.errors import FileError, out_of_memory
from deepscope.names import visible

_NOT_THE_FILES_FAULT = {
    errno.EMFILE: "raise the limit of open files (`ulimit -n 4096`)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs, or use a machine with more memory",
    errno.ENOBUFS: "close other programs, or use a machine with more memory",
    errno.EIO: "check the disk or the network share",
    errno.ETIMEDOUT: "check the disk or the network share",
}
"""Errors that do not concern the file that was being read -> what to do."""


@dataclass(frozen=True)
class Skipped:
    """An input that could not be used, and why, in one line."""

    path: str
    reason: str


class UnreadableImage(FileError):
    """An image cannot be decoded; the message names it and says why.

    Attributes:
        reason: the why alone, for a table that has the name in another column.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be used: {reason}", path=name)
        self.reason = " ".join(reason.split())


ADDRESS = re.compile("(https?|ftp|s3|gs):/", re.IGNORECASE)
"""How an address of the web or of a cloud's storage begins; a path keeps one of its two slashes."""


class Exhausted(FileError):
    """Memory, file handles or the disk failed while an image was read. It stops the run: the image may be good."""


class Refused(Exception):
    """Why a source is not even given to a decoder; becomes an `UnreadableImage`."""


def why(path: Path, error: OSError | ValueError) -> str:
    """Why a path cannot be read.

    Raises:
        Exhausted: the computer is at fault, not the file.
    """
    if text := shortage(label(path), error):
        raise Exhausted(text) from None
    if isinstance(error, FileNotFoundError):
        if ADDRESS.match(str(path)):
            return "it is a web address: download the file first"
        return "it is a link to a file that does not exist" if path.is_symlink() else "there is no such file or folder"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"it cannot be read: {reason}"


def shortage(name: str, error: BaseException) -> str:
    """The message where a failure is not the image's fault and must stop the run; empty where it is."""
    if isinstance(error, Exhausted):
        return str(error)
    if out_of_memory(error):
        return f"memory ran out while {name} was read: {_NOT_THE_FILES_FAULT[errno.ENOMEM]}, and run again"
    if isinstance(error, OSError) and error.errno in _NOT_THE_FILES_FAULT:
        return f"{name} could not be read: {error.strerror}: {_NOT_THE_FILES_FAULT[error.errno]}, and run again"
    return ""


def label(source: object) -> str:
    """The name of a source in a message."""
    if not isinstance(source, (str, Path)):
        return f"the image given as {type(source).__name__}"
    return visible(os.fspath(source))
