"""Labelled images for training and evaluation, in any form."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from deepscope import images
from deepscope.data import ClassFolders, load_dataset
from deepscope.errors import DataError, DeepscopeError
from deepscope.inputs.given import Given, Images, Item
from deepscope.inputs.given import gather as gather_images
from deepscope.models import Preprocessing
from deepscope.names import short, storable
from deepscope.session import Session

_THUMBNAIL = 160
"""Side of small pictures, in pixels."""

Source: TypeAlias = "images.Source | Tensor"
"""An image or its file, or (3, H, W) pixels in [0, 1] that are taken as they are."""

Data: TypeAlias = "str | Path | ClassFolders | Images | Examples"
"""A folder with a folder of images per class, with or without `train/` and `test/`; a dataset's name; or an
iterable of (image, label)."""


@dataclass(frozen=True, eq=False)
class Examples:
    """N labelled images.

    Attributes:
        name: of the data, for titles.
        classes: names.
        sources: the images, or their files.
        paths: their files; for images from memory a name made from their place.
        labels: (N,) places in `classes`.
        test: (N,) bool, which images are the data's own test images; None where the data is undivided.
        folder: that holds the files; None for images from memory.
        skipped: what cannot be used.
        values: (C,) the caller's own labels of the classes; None where these are their names.
    """

    name: str
    classes: tuple[str, ...]
    sources: tuple[Source, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    test: NDArray[np.bool_] | None = None
    folder: Path | None = None
    skipped: tuple[images.Skipped, ...] = ()
    values: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, data: Data, session: Session, *, skip_empty: bool = False) -> Examples:
        """The examples that a caller named, in any form.

        Args:
            data: see `Data`.
            session: its home is where datasets are.
            skip_empty: leave out class folders without an image, see `ClassFolders.read`; `skipped` lists them.

        Raises:
            DataError: there is no such data, it has no labels, or too few classes or images.
        """
        if isinstance(data, Examples):
            return data
        if isinstance(data, (str, Path)):
            data = load_dataset(data, session, ClassFolders, skip_empty=skip_empty)
        if isinstance(data, ClassFolders):
            return cls.in_folders(data)
        return cls.of_images(data)

    @classmethod
    def in_folders(cls, data: ClassFolders) -> Examples:
        """The images of class folders, training images first."""
        everything = data.everything
        test = None if data.test is None else np.arange(len(everything)) >= len(data.train)
        return cls(
            short(str(data.root)),
            data.classes,
            everything.paths,
            everything.paths,
            everything.labels,
            test,
            data.root,
            data.skipped,
        )

    @classmethod
    def of_images(cls, given: Images, labels: ArrayLike | None = None) -> Examples:
        """Images with their labels, or (image, label) pairs.

        Args:
            given: images, see `Images`.
            labels: (N,) class numbers or names; None takes those of the pairs.

        Raises:
            DataError: an image has no label or several, or the numbers of images and labels differ.
        """
        found = items_of(given)
        items = list(found.items)
        known: Sequence[Any] = [item.label for item in items] if labels is None else np.asarray(labels).tolist()
        if len(known) != len(items):
            raise DataError(f"{len(items)} images and {len(known)} labels: give one label per image")
        if (row := next((row for row, label in enumerate(known) if label is None), None)) is not None:
            raise DataError(f"{items[row].path} has no label: give (image, label) pairs, or a folder per class")
        if (
            row := next((row for row, label in enumerate(known) if isinstance(label, (frozenset, list))), None)
        ) is not None:
            raise DataError(f"{items[row].path} has several labels, and images of one class each are needed here")
        values, places = np.unique(np.asarray(known), return_inverse=True)
        return cls(
            "images",
            tuple(storable(str(value)) for value in values),
            tuple(item.source for item in items),
            tuple(item.path for item in items),
            places.astype(np.int64).reshape(-1),
            skipped=found.skipped,
            values=values,
        )

    @property
    def names(self) -> NDArray[Any]:
        """(C,) the classes as the caller calls them: numbers or names."""
        return np.asarray(self.classes) if self.values is None else self.values

    @property
    def given(self) -> Given:
        """The images with the caller's labels."""
        labels = self.names[self.labels].tolist()
        return Given(tuple(Item(*one) for one in zip(self.sources, self.paths, labels)), skipped=self.skipped)

    @property
    def digest(self) -> str:
        """SHA-256 of all images and labels. Every image is read."""
        found = hashlib.sha256(repr((self.classes, self.labels.tolist(), self.test is not None)).encode())
        for source in self.sources:
            found.update(source.numpy().tobytes() if isinstance(source, Tensor) else images.digest(source))
        return found.hexdigest()

    @property
    def training(self) -> Examples:
        """The training images; all images where the data is undivided."""
        return self if self.test is None else self.at(np.flatnonzero(~self.test))

    @property
    def held_out(self) -> Examples:
        """The test images; all images where the data is undivided."""
        return self if self.test is None else self.at(np.flatnonzero(self.test))

    def at(self, rows: NDArray[np.int64]) -> Examples:
        """The images of these rows, undivided."""
        return replace(
            self,
            sources=tuple(self.sources[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[rows],
            test=None,
        )


def thumbnail_of(source: Source) -> Tensor | None:
    """(3, H, W) pixels of an image, made small for a figure; None where its file cannot be read any more."""
    if isinstance(source, Tensor):
        return source
    try:
        return Preprocessing(resize=_THUMBNAIL, crop=_THUMBNAIL)(source)
    except DeepscopeError:
        return None


def items_of(given: Images) -> Given:
    """Images in any form, one item per image that was given: a file that is named twice is two items.

    Raises:
        DataError: it does not hold images.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "UO":
        given = given.tolist()
    each: Sequence[Any] = given if isinstance(given, (list, tuple)) else ()
    if each and all(isinstance(one, (str, Path)) and not Path(one).is_dir() for one in each):
        return Given([Item(Path(path), Path(path)) for path in each])
    return gather_images(given)
