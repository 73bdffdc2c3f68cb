"""Class-folder data: `ROOT/CLASS/*.jpg`, or `ROOT/train/CLASS/*.jpg` with `ROOT/test/CLASS/*.jpg`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepscope import images
from deepscope.errors import DataError, FileError, SettingError
from deepscope.names import storable

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
    """Images in one folder per class.

    The folders directly below the root are the classes (or those below its `train` and `test`). Images in deeper
    folders belong to the class above them; those directly in the root belong to none. NumPy files, which are images of
    other channels than RGB, are listed where there is no picture.

    Attributes:
        root: the folder that was named.
        classes: the class folders' names, sorted; a label is its place here.
        train: the training images; all images where the data came undivided.
        test: the test images; None where the data came undivided.
        skipped: files that cannot be listed, images that are in no class folder, and the folders in `empty`.
        empty: class folders without an image, whose classes are left out.
    """

    root: Path
    classes: tuple[str, ...]
    train: Labelled
    test: Labelled | None = None
    skipped: tuple[images.Skipped, ...] = ()
    empty: tuple[Path, ...] = ()

    @classmethod
    def read(cls, root: str | Path, *, skip_empty: bool = False) -> ClassFolders:
        """List the images; none is decoded. Hidden folders are not classes.

        Args:
            root: the folder.
            skip_empty: leave out classes without an image (or without one in `train` or `test`), as long as two classes
                remain: a classifier can be evaluated without them, but would be fitted to other classes than those
                that were asked for.

        Raises:
            DataError: no folder, fewer than two classes, a class without an image, or classes that differ between
                `train` and `test`.
        """
        root = Path(root).expanduser()
        if not root.is_dir():
            raise DataError(f"{root} is not a folder: name one that holds one folder of images per class", data=root)
        found, held_out = _pictures_or_stacks(root), held_out_folder(root)
        used = [root] if held_out is None else [root / "train", held_out]
        listed = [_listed(folder, found.paths) for folder in used]
        empty = _empty(used, listed, skip_empty)
        left_out = [images.Skipped(str(folder), "it has no images: the class is left out") for folder in empty]
        skipped = (*found.skipped, *left_out, *_outside(root, found.paths, used))
        classes, train = _labelled(listed[0])
        if held_out is None:
            return cls(root, classes, train, None, skipped, empty)
        others, test = _labelled(listed[1])
        if different := set(classes) ^ set(others):
            name = min(different)
            has, lacks = (root / "train", held_out) if name in classes else (held_out, root / "train")
            more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
            raise DataError(
                f"class {name!r}{more} is in {has} but not in {lacks}: give both the same class folders", data=root
            )
        return cls(root, classes, train, test, skipped, empty)

    def divide(self, test_fraction: float, *, rng: torch.Generator) -> ClassFolders:
        """All images, divided anew and at random into train and test, class by class (stratified).

        Each class keeps at least one image on either side.

        Args:
            test_fraction: the share of each class that becomes test images, above 0 and below 1.
            rng: draws the division.

        Raises:
            SettingError: the fraction is not between 0 and 1.
            DataError: a class has only one image.
        """
        everything = self.everything
        train, test = stratified(everything.labels, self.classes, test_fraction, rng=rng)
        return replace(self, train=everything.at(train), test=everything.at(test))

    @property
    def everything(self) -> Labelled:
        """Train and test images together."""
        if self.test is None:
            return self.train
        return Labelled(self.train.paths + self.test.paths, np.concatenate([self.train.labels, self.test.labels]))


def _pictures_or_stacks(root: Path) -> images.Found:
    found = images.find([root])
    return found if found.paths else images.find([root], stacks=True)


def stratified(
    labels: NDArray[np.int64], classes: Sequence[str], test_fraction: float, *, rng: torch.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to test with, drawn class by class; each class keeps at least one row on either side.

    Raises:
        SettingError: the fraction is not between 0 and 1.
        DataError: a class has only one row.
    """
    if not 0 < test_fraction < 1:
        raise SettingError(
            "test_fraction", "leaves nothing to train on or to test: give a share such as 0.3", got=test_fraction
        )
    train, test = [], []
    for label, name in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) == 1:
            raise DataError(
                f"class {name!r} has only one image, and needs one to train on and one to test with: give it at least "
                "2, or divide the images into train/ and test/"
            )
        rows = rows[torch.randperm(len(rows), generator=rng).numpy()]
        count = min(max(round(test_fraction * len(rows)), 1), len(rows) - 1)
        test.append(np.sort(rows[:count]))
        train.append(np.sort(rows[count:]))
    return np.concatenate(train), np.concatenate(test)


def held_out_folder(root: Path) -> Path | None:
    """The folder of test images; None where the root is not divided into training and test images."""
    if not (root / "train").is_dir() or images.duplicate(root / "train"):
        return None
    named = (root / name for name in HELD_OUT)
    return next((folder for folder in named if folder.is_dir() and not images.duplicate(folder)), None)


def class_folders(paths: Sequence[Path], roots: Iterable[str | Path]) -> list[Path | None]:
    """For each image the folder whose name is its class: the rule of `ClassFolders`, for any named files and folders.

    Of a file that was named itself, or lies below none of the roots, it is the folder that it is in. Where a root holds
    images but no folder of images, it is a class folder itself.

    Returns:
        folders; None for an image that is in no class folder.
    """
    folders = {Path(root).absolute(): held_out_folder(Path(root)) for root in roots if Path(root).is_dir()}
    flat = {root for root in folders if not any(_depth(path, root) > 1 for path in paths)}
    found: list[Path | None] = []
    for path in (path.absolute() for path in paths):
        root = next((root for root in folders if path.is_relative_to(root)), None)
        if root is None or root in flat:
            found.append(path.parent)
            continue
        split, label = place(path.relative_to(root), folders[root] is not None)
        found.append(root / split / label if label else None)
    return found


def place(path: Path, divided: bool) -> tuple[str, str]:
    """The split and the class that a path, relative to the root, is in; empty where it is in none."""
    folders = path.parts[:-1]
    split = folders[0] if divided and folders and folders[0] in ("train", *HELD_OUT) else ""
    below = folders[1:] if split else folders
    return split, below[0] if below else ""


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name, without hidden ones, what archivers leave behind, and `duplicate` links.

    Raises:
        FileError: the folder cannot be listed.
    """
    try:
        inside = [path for path in folder.iterdir() if path.is_dir()]
    except OSError as error:
        raise FileError(f"{folder} cannot be listed: {error.strerror}", path=folder) from None
    visible = [path for path in inside if not path.name.startswith(".") and path.name != "__MACOSX"]
    return sorted(path for path in visible if not images.duplicate(path))


def _depth(path: Path, root: Path) -> int:
    """Folders from the root to the image; 0 for an image elsewhere."""
    path = path.absolute()
    return len(path.relative_to(root).parts) if path.is_relative_to(root) else 0


def _listed(folder: Path, paths: Sequence[Path]) -> dict[str, list[Path]]:
    """The class folders of one folder and their images, of those that were found."""
    found: dict[str, list[Path]] = {sub.name: [] for sub in subfolders(folder)}
    for path in paths:
        if path.is_relative_to(folder) and (name := place(path.relative_to(folder), False)[1]):
            found[name].append(path)
    if len(found) < 2:
        there = f"only {next(iter(found))!r}" if found else "none"
        raise DataError(f"{folder} needs one folder of images per class, at least two, and has {there}", data=folder)
    return found


def _empty(used: Sequence[Path], listed: Sequence[dict[str, list[Path]]], skip: bool) -> tuple[Path, ...]:
    """The class folders without an image. Their classes are taken out of what was listed in any of the folders."""
    empty = [folder / name for folder, found in zip(used, listed) for name, files in found.items() if not files]
    names = {path.name for path in empty}
    if empty and not (skip and all(len(found.keys() - names) > 1 for found in listed)):
        name, folder = empty[0].name, empty[0].parent
        raise DataError(f"class {name!r} in {folder} has no image: give it some, or remove the folder", data=folder)
    for found in listed:
        for name in names & found.keys():
            del found[name]
    return tuple(empty)


def _labelled(found: dict[str, list[Path]]) -> tuple[tuple[str, ...], Labelled]:
    """The classes, and all images with their labels."""
    labels = np.repeat(np.arange(len(found)), [len(files) for files in found.values()])
    return tuple(map(storable, found)), Labelled(tuple(path for files in found.values() for path in files), labels)


def _outside(root: Path, paths: Sequence[Path], used: Sequence[Path]) -> list[images.Skipped]:
    """What is in no class folder: single images, and folders other than the two that are used."""
    skipped: list[images.Skipped] = []
    beside: Counter[str] = Counter()
    for path in paths:
        if path.parent in (root, *used):
            skipped.append(images.Skipped(str(path), "it is in no class folder"))
        elif not any(path.is_relative_to(folder) for folder in used):
            beside[path.relative_to(root).parts[0]] += 1
    names = " and ".join(f"{folder.name}/" for folder in used)
    for name, count in beside.items():
        reason = f"the folder is not used, with {count} image{'s' if count > 1 else ''}: {names} are"
        skipped.append(images.Skipped(str(root / name), reason))
    return skipped
