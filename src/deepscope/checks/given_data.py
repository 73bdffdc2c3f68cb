"""Labelled images that the caller of `deepscope.audit` holds, in place of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from deepscope import images
from deepscope.data import ClassFolders
from deepscope.data.audit import Audit, Candidate, audit, compare
from deepscope.data.dataset import load_dataset
from deepscope.errors import DataError, SettingError
from deepscope.inputs.examples import Data, Examples, Source
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class GivenData:
    """Images that a classifier is evaluated on, and those that it was trained on, where they are known.

    Attributes:
        images: to evaluate on.
        train: only compared with them: copies among the two make accuracy look better than it is.
    """

    images: Examples
    train: Examples | None = None

    @classmethod
    def of(cls, data: Data, train: Data | None, session: Session) -> GivenData:
        """The data in any form, in which divided data brings its own training images.

        Raises:
            DataError: an image has no label, there is no image, or there is no such data.
            SettingError: training images are given twice.
        """
        given = _examples(data, session)
        if not len(given):
            raise DataError("no image was given: give (image, label) pairs, or a folder per class")
        if given.test is None:
            return cls(given, None if train is None else _apart(_examples(train, session).training))
        if train is not None:
            raise SettingError("train", "must be left out: the data has training images of its own")
        return cls(given.held_out, _apart(given.training))

    @property
    def digest(self) -> str:
        """SHA-256 of all images and labels. Every image is read."""
        parts = [self.images.digest, *([self.train.digest] if self.train else [])]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def candidates(self) -> Iterator[Candidate]:
        """Every image with its split and class, as in the folders `train/CLASS` and `test/CLASS`."""
        return (
            Candidate(name, name.parts[0] if self.train else "", label, as_picture(source))
            for name, label, source, _ in self._named()
        )

    def sources(self) -> dict[Path, tuple[Source, Path]]:
        """Every image, and the name that the caller or its place gave it, by the path of its candidate."""
        return {name: (source, path) for name, _, source, path in self._named()}

    def _named(self) -> Iterator[tuple[Path, str, Source, Path]]:
        divided = [("", self.images)] if self.train is None else [("train", self.train), ("test", self.images)]
        for split, part in divided:
            for source, path, label in zip(part.sources, part.paths, part.labels):
                name = part.classes[label]
                yield Path(split, name.replace("/", "_"), path.name), name, source, path


def _examples(data: Data, session: Session) -> Examples:
    """As `Examples.of`, without the classes that have no images: an audit measures the others."""
    if isinstance(data, (str, Path)):
        data = load_dataset(data, session, ClassFolders, skip_empty=True)
    return Examples.of(data, session)


def _apart(train: Examples) -> Examples:
    """Training images from memory with names that no evaluated image has: both sets count from image-0."""
    pairs = zip(train.sources, train.paths, strict=True)
    return replace(train, paths=tuple(p if isinstance(s, (str, Path)) else Path("train", p) for s, p in pairs))


def given_data(name: str, session: Session) -> GivenData | None:
    """The data of that name that the caller holds; None where the name is a folder's or a dataset's."""
    held = session.data.get(name)
    return held if isinstance(held, GivenData) else None


def labelled(name: str, session: Session) -> Examples:
    """The data of that name, divided or not; of data that the caller holds the training images, if there are any."""
    held = given_data(name, session)
    return _examples(name, session) if held is None else held.train or held.images


def audit_data(name: str, session: Session, *, figures: int, listed: bool = False) -> Audit:
    """Corrupt files, copies and leaks of a folder, a dataset, or the data that the caller holds.

    Args:
        listed: the folder may have any folders in it, as a file says what its images show.
    """
    if held := given_data(name, session):
        return compare(list(held.candidates()), session, root=Path(name), figures=figures)
    if listed:
        return audit(Path(name), session, figures=figures)
    return audit(load_dataset(name, session, ClassFolders, skip_empty=True).root, session, figures=figures)


def as_picture(source: Source) -> images.Source:
    """The same image, (3, H, W) pixels in [0, 1] as a picture of 8 bits."""
    if not isinstance(source, Tensor):
        return source
    levels = (source.clamp(0, 1) * 255).round().byte()
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()))
