"""Photographs of a study that can be read: the others are left out and listed, and end nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from deepscope.images import Skipped, UnreadableImage


def readable(paths: Iterable[Path], read: Callable[[Path], object]) -> tuple[list[Path], tuple[Skipped, ...]]:
    """The files that `read` reads, in their order, and for every other one the reason.

    Args:
        paths: image files.
        read: such as the preprocessing of the network that they are for.

    Raises:
        Exhausted: memory or file handles ran out, or the disk failed.
    """
    found: list[Path] = []
    skipped: list[Skipped] = []
    for path in paths:
        try:
            read(path)
        except UnreadableImage as error:
            skipped.append(Skipped(str(path), error.reason))
        else:
            found.append(path)
    return found, tuple(skipped)
