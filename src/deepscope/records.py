"""The record in `result.json` of its folder: which files belong to the result, and which command wrote it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from deepscope.errors import DeepscopeError, FileError
from deepscope.files import inside, sweep

DOCUMENT, ARRAYS = "result.json", "arrays.npz"
FOLDER = "folder"
"""Key of `result.json` that is not part of the result: what else is in the folder."""
UNFINISHED = "Unfinished"
"""`type` of a `result.json` that lists the files of a result whose writer has not ended."""
LARGEST = 8 * 2**30
"""Most bytes that are read into memory."""

_FIGURES = (".png", ".svg", ".pdf", ".gif", ".webp", ".mp4")


def document(folder: Path) -> dict[str, Any]:
    """The content of `result.json`.

    Raises:
        OSError, ValueError, RecursionError: it is missing, too large, or not a JSON object.
    """
    path = folder / DOCUMENT
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{DOCUMENT} has more than {LARGEST} bytes")
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{DOCUMENT} holds no object")
    return cast("dict[str, Any]", found)


def about(folder: Path) -> dict[str, Any]:
    """The writer's notes on the folder; empty where there is no result, a damaged one, or one of version 0.1."""
    try:
        found = document(folder).get(FOLDER)
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def listed(folder: Path) -> set[str]:
    """The figures and other images that belong to the result."""
    names = about(folder).get("files")
    found = cast("list[Any]", names) if isinstance(names, list) else []
    return {name for name in found if isinstance(name, str) and Path(name).suffix in _FIGURES}


def written_by(folder: Path) -> str:
    """The command that wrote the result in the folder, empty where that is not known."""
    return str(about(folder).get("writer", ""))


def ours(folder: Path) -> bool:
    """Whether `result.json` is there and was written by this program, in any version, be it finished or not."""
    try:
        found = document(folder)
    except (OSError, ValueError, RecursionError, MemoryError):
        return False
    if found.get("type") == UNFINISHED:
        return isinstance(found.get(FOLDER), dict)
    return found.get("type") == "Result" and {"title", "metrics", "blocks"} <= found.keys()


def foreign(folder: Path) -> list[str]:
    """The files that a result would replace and that are not of this program's results."""
    return [] if ours(folder) else [name for name in (DOCUMENT, ARRAYS) if os.path.lexists(folder / name)]


def refuse_foreign(folder: Path) -> None:
    """Raises FileError where a result would replace files that are not of this program's results."""
    if names := foreign(folder):
        raise FileError(
            f"{folder} holds {' and '.join(names)} that deepscope did not write or that is damaged: "
            f"move it away, or name another folder",
            path=folder,
        )


def retire(folder: Path) -> None:
    """Remove the result that the folder holds, because what it describes is about to be replaced.

    What another program wrote stays.

    Raises OSError where a file cannot be removed.
    """
    if ours(folder):
        remove(folder, listed(folder))
        for name in (ARRAYS, DOCUMENT):  # arrays without a document would not be known as ours
            (folder / name).unlink(missing_ok=True)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files by their path in the folder. The list comes from a file: nothing outside the folder is removed."""
    root = folder.resolve()
    for name in names:
        try:
            path = inside(folder, name)
        except DeepscopeError:
            continue
        if path != root:
            if path.is_file():
                path.unlink()
            sweep(path)
            with suppress(OSError):  # until the first folder that is not empty
                while (path := path.parent) != root:
                    path.rmdir()
