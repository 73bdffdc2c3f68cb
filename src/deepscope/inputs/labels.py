"""Which labels images show, several per image, from a CSV file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from deepscope.errors import DataError, FileError, SettingError
from deepscope.inputs import tables
from deepscope.models import VisionModel
from deepscope.names import Names

BESIDE = "labels.csv"
"""Read where no file is named: the table in the folder of images."""
_FILE = ("file", "filename", "image", "path")
"""Names of the first column."""
_VALUES = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
SEPARATOR = ";"
"""Of the labels of an image."""


@dataclass(frozen=True)
class LabelTable:
    """The labels of images.

    Attributes:
        path: the file.
        known: the labels that the file covers, as places among the model's.
        rows: image as the file calls it -> the labels that it shows.
    """

    path: Path
    known: tuple[int, ...]
    rows: Mapping[str, frozenset[int]]

    def of(self, paths: Sequence[Path]) -> list[frozenset[int] | None]:
        """The labels of each image file; None of one that is not listed.

        The file calls an image by its name, or by the end of its path, such as `2024/a.jpg`; a name that fits two
        images counts for neither.

        Raises:
            DataError: none of them is listed.
        """
        named = [tables.name_in(path, self.rows) for path in paths]
        counts = Counter(named)
        found = [self.rows[name] if name is not None and counts[name] == 1 else None for name in named]
        if all(labels is None for labels in found):
            raise DataError(f"{self.path} names none of the images: its first column has their files", data=self.path)
        return found


def labels_beside(folder: str | Path) -> Path | None:
    """The table of labels in a folder of images; None where there is none."""
    path = Path(folder) / BESIDE
    return path if path.is_file() else None


def read_labels(path: str | Path, model: VisionModel) -> LabelTable:
    """The labels in a CSV file.

    Two formats are read. Either two columns, the image's file and its labels, which semicolons separate:

        file,labels
        a.jpg,cat;dog
        b.jpg,

    or a column per label with 0 or 1, below the labels' names:

        file,cat,dog
        a.jpg,1,1
        b.jpg,0,0

    Args:
        path: the file.
        model: whose labels they are.

    Raises:
        FileError: the file cannot be read, a row cannot be used, or a label is none of the model's.
    """
    if not isinstance(path, (str, Path)):
        raise SettingError("labels", "must be the path of a CSV file", got=cast(object, path))
    path = Path(path)
    names, lines = Names(model.categories), list(tables.rows(path))
    if not lines:
        raise FileError(f"{path} is empty: give a line per image, its file and its labels", path=path)
    first = lines[0][1]
    headed = first[0].casefold() in _FILE
    by_column = headed and len(first) > 1 and (len(first) > 2 or len(names.places(first[1])) == 1)
    if not headed and len(first) != 2:
        raise FileError(f"{path}: the first line must be 'file,labels', or 'file' and the labels", path=path)
    columns = [_label(names, name, path, 1, model) for name in first[1:]] if by_column else []
    if len(set(columns)) < len(columns):
        raise FileError(f"{path}, line 1: a label has two columns", path=path)
    rows: dict[str, frozenset[int]] = {}
    for line, cells in lines[1:] if headed else lines:
        if len(cells) != (len(first) if by_column else 2):
            raise FileError(f"{path}, line {line}: {len(cells)} values below {len(first)} columns", path=path)
        if cells[0] in rows:
            raise FileError(f"{path}, line {line}: {cells[0]!r} is named a second time", path=path)
        if by_column:
            shown = [label for label, cell in zip(columns, cells[1:]) if _is_set(cell, path, line)]
        else:
            named = filter(None, (name.strip() for name in cells[1].split(SEPARATOR)))
            shown = [_label(names, name, path, line, model) for name in named]
        rows[cells[0]] = frozenset(shown)
    known = tuple(sorted(columns)) if by_column else tuple(range(len(model.categories)))
    return LabelTable(path, known, rows)


def _label(names: Names, name: str, path: Path, line: int, model: VisionModel) -> int:
    places = names.places(name)
    if len(places) != 1:
        what = "is not a label" if not places else "is the name of several labels"
        raise FileError(f"{path}, line {line}: {name[:60]!r} {what} of {model.name}", path=path)
    return places[0]


def _is_set(cell: str, path: Path, line: int) -> bool:
    value = _VALUES.get(cell.casefold())
    if value is None:
        raise FileError(f"{path}, line {line}: {cell[:60]!r} is neither 0 nor 1", path=path)
    return value
