"""Class-folder data: `ROOT/CLASS/*.jpg`, or `ROOT/train/CLASS/*.jpg` with `ROOT/test/CLASS/*.jpg`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepscope import images
from deepscope.errors import InputError

HELD_OUT = ("test", "val", "validation")
"""Folders that, beside `train`, hold the test images; the first one there is is taken."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Image files with their classes: `labels` is (N,) int64, indices into the data's `classes`."""

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.paths)

    def at(self, rows: NDArray[np.integer]) -> Labelled:
        """The rows of these numbers, in their order."""
        return Labelled(tuple(self.paths[row] for row in rows), self.labels[rows])


@dataclass(frozen=True, eq=False)
class ClassFolders:
    """Images in one folder a class.

    Attributes:
        root: the folder that was named.
        classes: the class folders' names, sorted; a label is its place here.
        train: the training images; all images where the data came undivided.
        test: the test images; None where the data came undivided.
        skipped: files that are no images.
    """

    root: Path
    classes: tuple[str, ...]
    train: Labelled
    test: Labelled | None = None
    skipped: tuple[images.Skipped, ...] = ()

    @classmethod
    def read(cls, root: str | Path) -> ClassFolders:
        """List the images; none is decoded. Hidden folders are no classes.

        Raises:
            InputError: no folder, fewer than two classes, a class without an image (training: with fewer
                than two), or classes that differ between `train` and `test`.
        """
        root = Path(root).expanduser()
        if not root.is_dir():
            raise InputError(f"{root} is not a folder: name one that holds a folder of images for each class")
        held_out = next((root / name for name in HELD_OUT if (root / name).is_dir()), None)
        if held_out is None or not (root / "train").is_dir():
            classes, train, skipped = _listed(root, at_least=2)
            return cls(root, classes, train, None, skipped)
        classes, train, skipped = _listed(root / "train", at_least=2)
        others, test, skipped_test = _listed(held_out, at_least=1)
        if different := set(classes) ^ set(others):
            name = min(different)
            has, lacks = (root / "train", held_out) if name in classes else (held_out, root / "train")
            more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
            raise InputError(f"class {name!r}{more} is in {has} but not in {lacks}: give both the same class folders")
        return cls(root, classes, train, test, (*skipped, *skipped_test))

    def divide(self, test_fraction: float, *, rng: torch.Generator) -> ClassFolders:
        """All images, divided anew and at random into train and test, class by class (stratified).

        Each class keeps at least one image on either side.

        Args:
            test_fraction: the share of each class that becomes test images, above 0 and below 1.
            rng: draws the division.

        Raises:
            InputError: the fraction is not between 0 and 1.
        """
        if not 0 < test_fraction < 1:
            raise InputError(f"a test fraction of {test_fraction} leaves nothing to train on or to test: use 0.3, say")
        everything = self.everything
        train, test = [], []
        for label in range(len(self.classes)):
            rows = np.flatnonzero(everything.labels == label)
            rows = rows[torch.randperm(len(rows), generator=rng).numpy()]
            count = min(max(round(test_fraction * len(rows)), 1), len(rows) - 1)
            test.append(np.sort(rows[:count]))
            train.append(np.sort(rows[count:]))
        return replace(self, train=everything.at(np.concatenate(train)), test=everything.at(np.concatenate(test)))

    @property
    def everything(self) -> Labelled:
        """Train and test images together."""
        if self.test is None:
            return self.train
        return Labelled(self.train.paths + self.test.paths, np.concatenate([self.train.labels, self.test.labels]))


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name, without hidden ones and what archivers leave behind."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    )


def _listed(folder: Path, *, at_least: int) -> tuple[tuple[str, ...], Labelled, tuple[images.Skipped, ...]]:
    """The classes of one folder, their images, and what is no image."""
    found = {sub.name: images.find([sub]) for sub in subfolders(folder)}
    if len(found) < 2:
        there = f"only {next(iter(found))!r}" if found else "none"
        raise InputError(f"{folder} needs a folder of images for each of at least two classes, and has {there}")
    for name, files in found.items():
        if len(files.paths) < at_least:
            count = "only one image" if files.paths else "no image"
            need = f"at least {at_least}" if at_least > 1 else "some"
            raise InputError(f"class {name!r} in {folder} has {count}: give it {need}, or remove the folder")
    labels = np.repeat(np.arange(len(found)), [len(files.paths) for files in found.values()])
    paths = tuple(path for files in found.values() for path in files.paths)
    skipped = tuple(file for files in found.values() for file in files.skipped)
    return tuple(found), Labelled(paths, labels), skipped
