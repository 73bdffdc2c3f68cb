"""CSV files about images: their rows, and what they, and folders of masks, may call each image."""

from __future__ import annotations

import csv
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from deepscope.errors import FileError

_MOST_BYTES = 2**28


def file_names(folder: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """What a CSV file may call each image: its path below the folder, or its name where it is the only one of it."""
    found: dict[str, Path] = {}
    several: set[str] = set()
    for path in paths:
        several |= {path.name} & found.keys()
        found[path.name] = path
    named = {name: path for name, path in found.items() if name not in several}
    below = {path.relative_to(folder).as_posix(): path for path in paths if path.is_relative_to(folder)}
    return {**named, **below, **{str(path): path for path in paths}}


def name_in(path: Path, known: Container[str]) -> str | None:
    """What a file or folder about images calls an image: the longest end of its path that is known; None if none is.

    So `bedroom/1.png` is the image of that name in a folder `bedroom` alone, and `1.png` any image of that name.
    """
    ends = ("/".join(path.parts[start:]) for start in range(len(path.parts)))
    return str(path) if str(path) in known else next((end for end in ends if end in known), None)


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FileError(f"{path} is larger than {_MOST_BYTES >> 20} MB: give fewer images", path=path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}", path=path) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise FileError(f"{path} is no CSV file in UTF-8 ({error})", path=path) from None
