"""Bytes of image files: only regular files are ever opened."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from deepscope.images.bounds import Limits
from deepscope.images.refusals import UnreadableImage, label, why

Source: TypeAlias = "str | Path | bytes | Image.Image | NDArray[Any]"
"""A path, a file's bytes, a decoded image, or an (H, W, 3) or (H, W) uint8 array."""

# Opening a pipe waits for its other end. It is looked at first, and may have become one by the time it is opened.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def opened(path: str | Path) -> Generator[BinaryIO, None, None]:
    """A regular file, open for reading.

    Raises:
        UnreadableImage: it is missing, a folder, a device, a pipe or a socket, or the system does not let it be read.
        Exhausted: file handles, memory or the disk failed.
    """
    try:
        _require_regular(path, os.stat(path))  # noqa: PTH116 (a str too)
        with open(os.open(path, _FLAGS), "rb") as file:  # noqa: PTH123 (of a file descriptor)
            _require_regular(path, os.fstat(file.fileno()))
            yield file
    except (OSError, ValueError) as error:
        raise UnreadableImage(label(path), why(Path(path), error)) from None


def _require_regular(path: str | Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
        raise UnreadableImage(label(path), f"it is {kind}, not a file")


def content(path: str | Path, most: int = Limits.bytes + 1) -> bytes:
    """The first bytes of a file; by default one more than `decode` takes, so that it refuses what is too large.

    Raises:
        UnreadableImage, Exhausted: as `opened`.
    """
    with opened(path) as file:
        return file.read(most)


def parts(path: str | Path) -> Iterator[bytes]:
    """The bytes of a file, a mebibyte at a time.

    Raises:
        UnreadableImage, Exhausted: as `opened`.
    """
    with opened(path) as file:
        while part := file.read(1 << 20):
            yield part


def _form(image: Image.Image) -> bytes:
    """What an image holds besides RGB: its own levels, transparency and orientation; nothing where it is plain RGB."""
    turned = image.getexif().get(ExifTags.Base.Orientation, 1)
    clear = image.info.get("transparency")
    if image.mode == "RGB" and turned == 1 and clear is None:
        return b""
    return f"{image.mode} {turned} {clear!r} {image.getpalette()}".encode() + image.tobytes()


def digest(source: Source) -> bytes:
    """SHA-256 of the file or pixels of an image; of its name where it cannot be read (decoding says why).

    Raises:
        Exhausted: file handles, memory or the disk failed.
    """
    found = hashlib.sha256()
    try:
        if isinstance(source, (str, os.PathLike)):
            for part in parts(source):
                found.update(part)
        elif isinstance(source, bytes):
            found.update(source)
        else:
            if isinstance(source, Image.Image):  # what decoding goes by, besides the colours
                found.update(_form(source))
                source = source.convert("RGB")
            array = np.asarray(source)
            found.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    except (UnreadableImage, OSError, ValueError):
        found = hashlib.sha256(repr(source).encode())
    return found.digest()
