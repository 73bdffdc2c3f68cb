"""Predictions that the owner of a model measured, from a CSV file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope import images
from deepscope.errors import DataError, DeepscopeError, FileError
from deepscope.inputs import tables
from deepscope.models import VisionModel

_FILE, _CLASS = "file", "class"
_LOOSE = 0.02
"""By which probabilities of all classes may fail to sum to 1."""


@dataclass(frozen=True)
class Expected:
    """What a model is said to give for some images.

    Attributes:
        paths: of the images.
        columns: the classes that values are known of.
        values: (images, columns) probabilities; where classes alone are known, (images, 1) indices.
        of_classes: whether they are.
    """

    paths: tuple[Path, ...]
    columns: tuple[int, ...]
    values: Tensor
    of_classes: bool

    def first(self, count: int) -> Expected:
        """The first images of these."""
        return replace(self, paths=self.paths[:count], values=self.values[:count])

    def difference(self, probabilities: Tensor, predicted: Tensor) -> float:
        """How far answers are from these: half the sum of absolute differences, or the share of other classes.

        Args:
            probabilities: (N, C).
            predicted: (N,) classes, by the threshold of a binary head.
        """
        if self.of_classes:
            return float((predicted[:, None] != self.values).float().mean())
        return float((probabilities[:, list(self.columns)].double() - self.values).abs().sum(1).mean() / 2)


def read_expected(path: Path, photos: Path, model: VisionModel, limit: int) -> Expected:
    """The first rows of a CSV file whose images exist.

    Args:
        path: a column "file" and either a column per class, named like the class or its number, or a column "class".
        photos: the folder that the files are in, by their paths below it or their names.
        model: knows the classes.
        limit: of the rows.

    Raises:
        FileError: the file cannot be read, or a row cannot be used.
        DataError: none of the images is in the folder.
    """
    found = images.find([photos])
    names = tables.file_names(photos, found.paths)
    rows = tables.rows(path)
    header = next(rows, (0, []))[1]
    if not header or header[0] != _FILE or len(header) < 2:
        raise FileError(f"{path}: the first line must be '{_FILE},{_CLASS}', or '{_FILE}' and the classes", path=path)
    of_classes = header[1] == _CLASS
    columns = () if of_classes else tuple(_category(model, name, path, 1) for name in header[1:])
    paths, values = list[Path](), list[list[float]]()
    for line, row in rows:
        if len(row) != len(header):
            raise FileError(f"{path}, line {line}: {len(row)} values below {len(header)} columns", path=path)
        if (place := names.get(row[0])) is None:
            continue
        paths.append(place)
        values.append([_category(model, row[1], path, line)] if of_classes else _numbers(row[1:], path, line))
        if len(paths) == limit:
            break
    if not paths:
        raise DataError(f"{path} names no image that is in {photos}: its column '{_FILE}' has their names", data=photos)
    table = torch.tensor(values, dtype=torch.int64 if of_classes else torch.float64)
    whole = not of_classes and model.head.kind != "multilabel" and len(set(columns)) == len(model.categories)
    if whole and (table.sum(1) - 1).abs().max() > _LOOSE:
        raise FileError(f"{path}: the values of an image do not sum to 1; give probabilities", path=path)
    return Expected(tuple(paths), columns, table, of_classes)


def _category(model: VisionModel, name: str, path: Path, line: int) -> int:
    try:
        return model.category(name)
    except DeepscopeError as error:
        raise FileError(f"{path}, line {line}: {error}", path=path) from None


def _numbers(cells: list[str], path: Path, line: int) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError as error:
        raise FileError(f"{path}, line {line}: {error}", path=path) from None
    if not all(0 <= number <= 1 for number in numbers):
        raise FileError(f"{path}, line {line}: a value is not between 0 and 1; give probabilities", path=path)
    return numbers
