"""The image files below named files and folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deepscope.images.decoding import FORMATS
from deepscope.images.refusals import Skipped, label, why
from deepscope.images.stacks import SUFFIX as STACK
from deepscope.records import ours

_REFUSED_SUFFIXES = frozenset({".heic", ".heif", ".avif"})
"""Photographs that Pillow does not read everywhere: refused by name rather than skipped silently."""


@dataclass(frozen=True)
class Found:
    """Image files in order, and the named paths that hold none."""

    paths: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def find(named: Iterable[str | Path], *, stacks: bool = False) -> Found:
    """The image files below the named files and folders.

    A named file is taken whatever its suffix. In a folder, files with the suffix of an image format are taken,
    the folder's own before those of its sub-folders, both in sorted order; links are followed, hidden
    files and folders and what archivers leave behind (`__MACOSX`) are left out, and so are folders below a named one
    that hold a result of this program, whose figures are not photographs. A file met twice is taken once,
    and so is a folder: at its own place, where `duplicate` says so, else where it is met first.

    Args:
        named: files and folders.
        stacks: also take NumPy files, which hold images of other channels than RGB.

    Raises:
        Exhausted: file handles, memory or the disk failed.
    """
    wanted = suffixes() | ({STACK} if stacks else set())
    skipped: list[Skipped] = []
    return Found(tuple(walk(named, wanted, skipped)), tuple(skipped))


def suffixes() -> set[str]:
    """The suffixes of image files, in lower case."""
    Image.init()
    return {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS} | _REFUSED_SUFFIXES


def walk(named: Iterable[str | Path], wanted: Container[str], skipped: list[Skipped]) -> Iterator[Path]:
    """The files that `find` finds, one by one.

    Args:
        named: files and folders.
        wanted: suffixes of the files that are taken in folders.
        skipped: takes up the named paths that hold none.

    Raises:
        Exhausted: as `find`.
    """
    alone = isinstance(named, Sequence) and len(named) == 1  # below one folder, no file is met twice
    seen: set[str] | None = None if alone else set()
    for path in map(Path, named):
        known, count = len(skipped), 0
        try:
            below = _walk(path, wanted, skipped) if stat.S_ISDIR(path.stat().st_mode) else [path]
            for file in below:
                count += 1
                absolute = "" if seen is None else os.path.abspath(file)  # noqa: PTH100 (resolve would follow links)
                if seen is None or absolute not in seen:
                    yield file
                if seen is not None:
                    seen.add(absolute)
        except (OSError, ValueError) as error:
            skipped.append(Skipped(label(path), why(path, error)))
            continue
        if not count and len(skipped) == known:
            skipped.append(Skipped(label(path), "the folder holds no image files"))


def duplicate(folder: Path) -> bool:
    """Whether a folder is a link to one that is found below the same parent anyway: the link names no class."""
    if not folder.is_symlink():
        return False
    real, parent = folder.resolve(), folder.parent.resolve()
    return real.is_relative_to(parent) and all(map(_visible, real.relative_to(parent).parts))


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _walk(folder: Path, wanted: Container[str], skipped: list[Skipped]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        skipped.append(Skipped(label(error.filename), why(Path(error.filename), error)))

    seen = {folder.resolve()}  # each folder once: a link to a folder above would loop forever
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        fresh = []
        for name in sorted(folders):
            place = Path(parent, name)
            real = place.resolve()
            if _visible(name) and real not in seen and not duplicate(place):
                seen.add(real)
                if ours(place):
                    skipped.append(Skipped(label(place), "holds a result of deepscope: name it to read its images"))
                else:
                    fresh.append(name)
        folders[:] = fresh
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in wanted:
                yield Path(parent, name)
