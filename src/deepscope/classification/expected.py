"""Predictions that the owner of a model measured, from a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import torch
from torch import Tensor

from deepscope import images
from deepscope.errors import DataError, DeepscopeError, FileError
from deepscope.inputs import nothing_readable, tables
from deepscope.inputs.labels import SEPARATOR
from deepscope.models import VisionModel

_FILE, _CLASS = "file", "class"
_LOOSE = 0.02
"""By which probabilities of all classes may fail to sum to 1."""
_COARSEST = 0.005
"""The largest error that rounding excuses: that of two decimals. With fewer, hardly any mistake would show."""


@dataclass(frozen=True)
class Expected:
    """What a model is said to give for some images.

    Attributes:
        paths: of the images.
        columns: the classes that values are known of.
        values: (images, columns) probabilities; where classes alone are known, (images, C) bool: those of each image.
        of_classes: whether they are.
        independent: whether the probabilities are those of labels, independent of each other, and not of classes.
        rounding: the largest error of a value that the file's decimals leave: 0.005 of 0.21.
    """

    paths: tuple[Path, ...]
    columns: tuple[int, ...]
    values: Tensor
    of_classes: bool
    independent: bool = False
    rounding: float = 0.0

    def first(self, count: int) -> Expected:
        """The first images of these."""
        return replace(self, paths=self.paths[:count], values=self.values[:count])

    def difference(self, probabilities: Tensor, predictions: Tensor) -> float:
        """How far answers are from these, from 0 to 1.

        Of classes alone, the share of images with other ones. Of labels, the mean absolute difference of their
        probabilities. Of classes that exclude each other, the total variation: half the sum of absolute differences,
        where those without a column count as one.

        Args:
            probabilities: (N, C).
            predictions: (N, C) bool, by the thresholds of the head.
        """
        return self._difference(probabilities, predictions, 0.0)

    def unexplained(self, probabilities: Tensor, predictions: Tensor) -> float:
        """As `difference`, without what the rounding of each value may explain."""
        return self._difference(probabilities, predictions, self.rounding)

    def _difference(self, probabilities: Tensor, predictions: Tensor, rounding: float) -> float:
        if self.of_classes:
            return float((predictions != self.values).any(1).double().mean())
        change = probabilities[:, list(self.columns)].double() - self.values
        sure = (change.abs() - rounding).clamp(min=0)
        if self.independent:
            return float(sure.mean())
        rest: Tensor | float = 0.0
        if (count := len(self.columns)) < probabilities.shape[1]:
            rest = (change.sum(1).abs() - count * rounding).clamp(min=0)
        return float((sure.sum(1) + rest).mean() / 2)


def read_expected(path: Path, photos: Path, model: VisionModel, limit: int) -> Expected:
    """The first rows of a CSV file whose images exist.

    Args:
        path: a column "file" and either a column per class, named like the class or its number, or a column "class";
            of several labels per image, that column separates them by semicolons.
        photos: the folder that the files are in, by their paths below it or their names.
        model: knows the classes.
        limit: of the rows.

    Raises:
        FileError: the file cannot be read, or a row cannot be used.
        DataError: there is no such folder, or none of the images is in it.
    """
    found = images.find([photos])
    if not found.paths:
        raise DataError(nothing_readable(found.skipped), data=photos)
    names = tables.file_names(photos, found.paths)
    rows = tables.rows(path)
    header = next(rows, (0, []))[1]
    if not header or header[0] != _FILE or len(header) < 2:
        raise FileError(f"{path}: the first line must be '{_FILE},{_CLASS}', or '{_FILE}' and the classes", path=path)
    of_classes = header[1] == _CLASS
    columns = () if of_classes else tuple(_category(model, name, path, 1) for name in header[1:])
    if len(set(columns)) < len(columns):
        raise FileError(f"{path}, line 1: a class has two columns", path=path)
    several = model.head.kind == "multilabel"
    paths, values, decimals = list[Path](), list[Sequence[float]](), 0
    for line, row in rows:
        if len(row) != len(header):
            raise FileError(f"{path}, line {line}: {len(row)} values below {len(header)} columns", path=path)
        if (place := names.get(row[0])) is None:
            continue
        paths.append(place)
        values.append(_classes(model, row[1], path, line) if of_classes else _numbers(row[1:], path, line))
        decimals = decimals if of_classes else max(decimals, *map(_decimals, row[1:]))
        if len(paths) == limit:
            break
    if not paths:
        raise DataError(f"{path} names no image that is in {photos}: its column '{_FILE}' has their names", data=photos)
    table = torch.tensor(values, dtype=torch.bool if of_classes else torch.float64)
    whole = not of_classes and not several and len(columns) == len(model.categories)
    if whole and (table.sum(1) - 1).abs().max() > _LOOSE:
        raise FileError(f"{path}: the values of an image do not sum to 1; give probabilities", path=path)
    rounding = 0.0 if of_classes else min(0.5 * 10.0**-decimals, _COARSEST)
    return Expected(tuple(paths), columns, table, of_classes, several, rounding)


def _decimals(cell: str) -> int:
    """Of a number as it is written; "2e-3" has three."""
    exponent = Decimal(cell.strip()).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _category(model: VisionModel, name: str, path: Path, line: int) -> int:
    try:
        return model.category(name)
    except DeepscopeError as error:
        raise FileError(f"{path}, line {line}: {error}", path=path) from None


def _classes(model: VisionModel, cell: str, path: Path, line: int) -> list[bool]:
    """(C) whether each class is the image's, or one of its labels."""
    several = model.head.kind == "multilabel"
    names = [name.strip() for name in cell.split(SEPARATOR) if name.strip()] if several else [cell]
    shown = {_category(model, name, path, line) for name in names}
    return [label in shown for label in range(len(model.categories))]


def _numbers(cells: list[str], path: Path, line: int) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError as error:
        raise FileError(f"{path}, line {line}: {error}", path=path) from None
    if not all(0 <= number <= 1 for number in numbers):
        raise FileError(f"{path}, line {line}: a value is not between 0 and 1; give probabilities", path=path)
    return numbers
