"""Images to generate more of: all of one size, as bytes, with their classes where they have some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepscope import images
from deepscope.data import Dataset, Digits, DigitSplit, Photographs, load_any
from deepscope.data.folders import subfolders
from deepscope.errors import DeepscopeError
from deepscope.models import Preprocessing
from deepscope.session import Session

DIGITS = tuple(str(digit) for digit in range(10))
"""The classes of handwritten digits."""

_HELD_OUT = 0.1
_READ_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images (N, C, H, W) uint8 with their classes (N,) int64; all 0 where there are none."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor) -> Labelled:
        """The rows of these numbers."""
        return Labelled(self.images[rows], self.labels[rows])

    def some(self, most: int, rng: torch.Generator) -> Labelled:
        """At most so many of them, drawn without replacement."""
        return self.at(torch.randperm(len(self), generator=rng)[:most])


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a GAN learns from, and what it is measured against.

    Attributes:
        name: as the person gave it.
        classes: empty where the images have none.
        train: to train on.
        test: held out.
        remarks: what was done to the images that a person should know.
        held_out: training images that stand in the test images' place.
        stacked: each is three in its colours.
    """

    name: str
    classes: tuple[str, ...]
    train: Labelled
    test: Labelled
    remarks: tuple[str, ...] = ()
    held_out: int = 0
    stacked: bool = False

    @property
    def channels(self) -> int:
        """1 where all images are grey, else 3."""
        return self.train.images.shape[1]

    @property
    def side(self) -> int:
        """Pixels a side."""
        return self.train.images.shape[2]


def load_pictures(name: str, side: int, session: Session, *, hold_out: int = 0) -> Pictures:
    """A dataset by name, a folder with a folder for each class, or any folder of images.

    Digits are put into the middle of 32 x 32 black pixels. Photographs are resized to their shorter side and cropped
    in the middle. Where the data comes without test images, a tenth is held out at random. What is held out depends
    on no seed: whoever measures a generator, by whatever seed, finds the images that it never saw.

    Args:
        name: of the dataset, or a folder.
        side: of the images, in pixels.
        session: where the data lies.
        hold_out: so many random training images take the test images' place, which nobody sees then.

    Raises:
        DeepscopeError: there is no such data, too little of it, or digits were asked for at another side than 32.
    """
    pictures = _load(name, side, session)
    if not hold_out:
        return pictures
    train = pictures.train
    if not 2 <= hold_out <= len(train) // 2:
        raise DeepscopeError(
            f"--hold-out {hold_out}: from 2 to half of the {len(train)} training images can be held out"
        )
    order = torch.randperm(len(train), generator=_drawn("training"))
    return replace(pictures, train=train.at(order[hold_out:]), test=train.at(order[:hold_out]), held_out=hold_out)


def _drawn(what: str) -> torch.Generator:
    return Session(seed=0).rng("held out", what)


def _load(name: str, side: int, session: Session) -> Pictures:
    path = Path(name).expanduser()
    folder = name not in Dataset.members() and path.is_dir()
    data = Photographs.below(path) if folder and len(subfolders(path)) < 2 else load_any(name, session)
    if isinstance(data, DigitSplit):
        if side != 32:
            raise DeepscopeError(f"digits are generated at --side 32, not {side}")
        return Pictures(name, DIGITS, _framed(data.train), _framed(data.test))
    rng = _drawn("test")
    if isinstance(data, Photographs):
        found, remarks = _read(data.paths, np.zeros(len(data), dtype=np.int64), side)
        order = torch.randperm(len(found), generator=rng)
        count = max(round(_HELD_OUT * len(found)), 1)
        return _grey(Pictures(name, (), found.at(order[count:]), found.at(order[:count]), remarks))
    divided = data if data.test is not None else data.divide(_HELD_OUT, rng=rng)
    assert divided.test is not None
    train, remarks = _read(divided.train.paths, divided.train.labels, side)
    test, _ = _read(divided.test.paths, divided.test.labels, side)
    return _grey(Pictures(name, data.classes, train, test, remarks))


def stacked(pictures: Pictures, count: int, session: Session) -> Pictures:
    """Three random grey images in the three colours of each new one: 1000 modes of ten digits (Metz et al. 2017).

    Args:
        pictures: grey, with ten classes.
        count: of training images; a sixth as many test images.
        session: its seed draws which.

    Raises:
        DeepscopeError: the pictures are no grey digits.
    """
    if pictures.channels != 1 or pictures.classes != DIGITS:
        raise DeepscopeError(f"{pictures.name} cannot be stacked: that needs grey digits, as mnist has")
    classes = tuple(f"{number:03}" for number in range(1000))

    def stack(part: Labelled, size: int, name: str) -> Labelled:
        rows = torch.randint(len(part), (3, size), generator=session.rng("stacked", name))
        images = torch.cat([part.images[row] for row in rows], dim=1)
        hundreds, tens, ones = part.labels[rows]
        return Labelled(images, 100 * hundreds + 10 * tens + ones)

    train, test = stack(pictures.train, count, "train"), stack(pictures.test, max(count // 6, 1), "test")
    return replace(pictures, classes=classes, train=train, test=test, stacked=True)


def _framed(digits: Digits) -> Labelled:
    """28 x 28 -> 32 x 32: not a pixel of a digit is changed."""
    images = torch.from_numpy(digits.images.copy())
    images = images[:, None] if images.ndim == 3 else images
    return Labelled(functional.pad(images, (2, 2, 2, 2)), torch.from_numpy(digits.labels.copy()))


def _read(paths: Sequence[Path], labels: NDArray[np.int64], side: int) -> tuple[Labelled, tuple[str, ...]]:
    preprocessing = Preprocessing((side, side), None, "lanczos")
    shapes: set[bool] = set()  # written by several threads, in one step each
    small: set[bool] = set()

    def square(source: images.Source) -> Tensor:
        image = images.decode(source, at_least=2 * side)
        shapes.add(image.width == image.height)
        small.add(min(image.size) < side)
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        return (preprocessing(image.crop((left, top, left + short, top + short))) * 255).round().byte()

    batches = list(images.stream(paths, square, batch_size=_READ_AT_ONCE))
    rows = [row for batch in batches for row in batch.rows]
    skipped = [item for batch in batches for item in batch.skipped]
    if len(rows) < 2:
        raise DeepscopeError(
            f"only {len(rows)} of {len(paths)} images can be read ({skipped[0].reason}): at least 2 are needed"
        )
    remarks = []
    if False in shapes:
        remarks.append("not all images are square: each is cut to its middle square")
    if True in small:
        remarks.append(f"some images have fewer than {side} pixels on a side and were enlarged")
    if skipped:
        remarks.append(
            f"{len(skipped)} images cannot be read and are left out, as {skipped[0].path}: {skipped[0].reason}"
        )
    pixels = torch.cat([batch.pixels for batch in batches if batch.rows])
    return Labelled(pixels, torch.from_numpy(labels[rows])), tuple(remarks)


def _grey(pictures: Pictures) -> Pictures:
    """One channel where all three are alike in every image."""
    parts = pictures.train, pictures.test
    if not all(bool((part.images == part.images[:, :1]).all()) for part in parts):
        return pictures
    train, test = (Labelled(part.images[:, :1].contiguous(), part.labels) for part in parts)
    return replace(pictures, train=train, test=test)
