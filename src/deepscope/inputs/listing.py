"""Many images by name: folders, lists of files, tar files and tables become places, in order, in little memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepscope import images
from deepscope.addresses import is_address
from deepscope.errors import FileError
from deepscope.images import Skipped
from deepscope.inputs.containers import CONTAINERS, container_of
from deepscope.inputs.places import Place
from deepscope.inputs.remote_folder import RemoteFolder

LIST = ".txt"
"""Suffix of a list of files, one per line."""
_NO_DATA = "cache-"
"""How Arrow files begin that Hugging Face's `datasets` keeps beside the data."""


def listed(named: Sequence[str | Path], skipped: list[Skipped]) -> Iterator[Place]:
    """The images below the named files and folders, in order; none is opened.

    Folders are searched as `images.find` does, and also hold tar files (`.tar`) and tables (`.parquet`, `.arrow`). A
    named `.txt` file lists files and folders, one per line, from its own folder. Addresses of fsspec come first: each
    is a folder of images.

    Args:
        named: files and folders.
        skipped: takes up what was named and holds no image.

    Raises:
        FileError: a list, a tar file or a table cannot be read.
        DataError: it is not clear which images a tar file or a table holds.
    """
    wanted = images.suffixes() | set(CONTAINERS)
    plain = not any(Path(path).suffix.lower() == LIST for path in named)
    for address in map(Path, filter(is_address, named)):
        yield from _remote(address, skipped)
    named = [path for path in named if not is_address(path)]
    for path in images.walk(named if plain else _spelled_out(named), wanted, skipped):
        file = os.fspath(path)
        container = container_of(file)
        if container and path.name.startswith(_NO_DATA):
            continue
        try:
            about = os.stat(file)  # noqa: PTH116 (a million names)
        except OSError as error:
            skipped.append(Skipped(file, f"it cannot be read: {error.strerror}"))
            continue
        if container is None:
            yield Place(file, about.st_size, about.st_mtime_ns)
            continue
        for name, start, length, label in container.entries(path):
            yield Place(file, about.st_size, about.st_mtime_ns, name, start, length, label)


def _remote(address: Path, skipped: list[Skipped]) -> Iterator[Place]:
    file, empty = os.fspath(address), True
    for name, start, length, label in RemoteFolder().entries(address):
        empty = False
        yield Place(file, 0, 0, name, start, length, label)
    if empty:
        skipped.append(Skipped(file, "there are no image files below this address"))


def _spelled_out(named: Sequence[str | Path]) -> Iterator[str | Path]:
    """The named paths, with the lines of lists in their place."""
    for path in map(Path, named):
        if path.suffix.lower() != LIST:
            yield path
            continue
        try:
            with images.opened(path) as file:
                lines = file.read().decode("utf-8-sig", errors="surrogateescape").split("\n")
        except images.UnreadableImage as error:
            raise FileError(f"the list {path} cannot be used: {error.reason}", path=path) from None
        if any("\0" in line for line in lines):
            raise FileError(f"{path} is no list of files: write one path per line", path=path)
        folder = os.fspath(path.parent)
        yield from (os.path.join(folder, line.strip()) for line in lines if line.strip())  # noqa: PTH118 (a million)
