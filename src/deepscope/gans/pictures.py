"""Training images: all of one size, as bytes, with classes where known."""

from __future__ import annotations

import hashlib
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
from deepscope.data.folders import stratified, subfolders
from deepscope.errors import DataError, SettingError
from deepscope.inputs import Images, gather
from deepscope.models import Preprocessing
from deepscope.session import Session

DIGITS = tuple(str(digit) for digit in range(10))
"""The classes of handwritten digits."""

_HELD_OUT = 0.1
_DIGIT_SIDE = 32
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
        """At most `most` of them, drawn without replacement."""
        return self.at(torch.randperm(len(self), generator=rng)[:most])


@dataclass(frozen=True, eq=False)
class Pictures:
    """The training and held-out images of a GAN.

    Attributes:
        name: as it was given; "images" for images in memory.
        classes: empty where the images have none.
        train: to train on.
        test: held out; those of class folders are in random order, so that any part of them has all classes.
        remarks: how the images were changed.
        held_out: how many training images replace the test images.
        stacked: whether each holds three digits in its colour channels.
        stack_seed: of the session that drew these digits.
        listing: SHA-256 of the names and sizes of a folder's files, as they are found from the folder: a changed folder
            has another, one that was moved or is named through a link has not. Empty for digits and images in memory.
    """

    name: str
    classes: tuple[str, ...]
    train: Labelled
    test: Labelled
    remarks: tuple[str, ...] = ()
    held_out: int = 0
    stacked: bool = False
    stack_seed: int = 0
    listing: str = ""

    @property
    def channels(self) -> int:
        """1 where all images are grey, else 3."""
        return self.train.images.shape[1]

    def __len__(self) -> int:
        return len(self.train)

    def in_colour(self) -> Pictures:
        """The same with three channels."""
        train, test = (Labelled(part.images.expand(-1, 3, -1, -1), part.labels) for part in (self.train, self.test))
        return replace(self, train=train, test=test)

    @property
    def side(self) -> int:
        """Side of the images in pixels."""
        return self.train.images.shape[2]


def load_pictures(
    data: Images | Pictures, side: int, session: Session, *, hold_out: int = 0, stack: int | None = None
) -> Pictures:
    """A dataset by name, a folder with a folder for each class, any folder of images, or images in memory.

    Digits are centred in 32 x 32 black pixels. Photographs are cropped to their middle square and resized. Where the
    data comes without test images, a tenth is held out at random. What is held out does not depend on the seed: every
    evaluation of a generator, with any seed, uses images that it never saw.

    Args:
        data: name of a dataset, a folder, or images or (image, label) pairs in any form.
        side: of the images, in pixels.
        session: where datasets are; its seed draws the stacks.
        hold_out: training images, drawn at random, that are held out in place of the test images.
        stack: make this many images of three random digits, one per colour channel; see `stacked`.

    Raises:
        DataError: there is no such data, or too little of it.
        SettingError: a setting is out of range, or digits were asked for at another side than 32.
    """
    pictures = data if isinstance(data, Pictures) else _load(data, side, session)
    if hold_out:
        pictures = _hold_out(pictures, hold_out)
    return pictures if stack is None else stacked(pictures, stack, session)


def same_data(first: str, second: str) -> bool:
    """Whether both name one dataset or one folder."""
    if first in (names := Dataset.members()) or second in names:
        return first == second
    return Path(first).expanduser().resolve() == Path(second).expanduser().resolve()


def _hold_out(pictures: Pictures, count: int) -> Pictures:
    train = pictures.train
    if not 2 <= count <= len(train) // 2:
        raise SettingError("hold_out", f"must be from 2 to half of the {len(train)} training images", got=count)
    order = torch.randperm(len(train), generator=_drawn("training"))
    return replace(pictures, train=train.at(order[count:]), test=train.at(order[:count]), held_out=count)


def _drawn(what: str) -> torch.Generator:
    return Session(seed=0).rng("held out", what)


def _load(data: Images, side: int, session: Session) -> Pictures:
    if not isinstance(data, (str, Path)):
        return _grey(_given(data, side))
    name = str(data)
    path = Path(name).expanduser()
    folder = name not in Dataset.members() and path.is_dir()
    found = Photographs.below(path) if folder and len(subfolders(path)) < 2 else load_any(name, session)
    if isinstance(found, DigitSplit):
        if side != _DIGIT_SIDE:
            raise SettingError("side", f"must be {_DIGIT_SIDE} for digits", got=side)
        return Pictures(name, DIGITS, _framed(found.train), _framed(found.test))
    if isinstance(found, Photographs):
        return _listed(_grey(_unlabelled(name, found.paths, side)), path, found.paths)
    divided = found if found.test is not None else found.divide(_HELD_OUT, rng=_drawn("test"))
    assert divided.test is not None
    train, remarks = _read(divided.train.paths, divided.train.labels, side)
    test, _ = _read(divided.test.paths, divided.test.labels, side)
    paths = [*divided.train.paths, *divided.test.paths]
    return _listed(_grey(Pictures(name, found.classes, train, _shuffled(test), remarks)), found.root, paths)


def _listed(pictures: Pictures, root: Path, paths: Sequence[Path]) -> Pictures:
    """With the listing of its files. Sizes stand for their bytes, which would have to be read once more."""
    found = hashlib.sha256(f"{len(pictures)} {len(pictures.test)}\n".encode())  # of those that can be read
    for path in paths:
        size = path.stat().st_size if path.exists() else 0
        found.update(f"{path.relative_to(root).as_posix()} {size}\n".encode("utf-8", "surrogateescape"))
    return replace(pictures, listing=found.hexdigest())


def _given(data: Images, side: int) -> Pictures:
    """Images in memory, or several paths; classes where every image has a label."""
    items = list(gather(data).items)
    sources = [item.source for item in items]
    labels = [item.label for item in items]
    if not items or any(label is None for label in labels):
        return _unlabelled("images", sources, side)
    classes = sorted(set(labels), key=lambda label: (str(type(label)), label))  # numbers by size, names by letter
    if len({str(label) for label in classes}) < len(classes):
        raise DataError("two labels are written alike, such as 1 and '1': give labels of one type")
    places = {label: place for place, label in enumerate(classes)}
    numbers = np.array([places[label] for label in labels])
    train, test = stratified(numbers, list(map(str, classes)), _HELD_OUT, rng=_drawn("test"))
    parts = [_read([sources[row] for row in rows], numbers[rows], side) for rows in (train, test)]
    (learnt, remarks), (held_out, _) = parts
    return Pictures("images", tuple(map(str, classes)), learnt, _shuffled(held_out), remarks)


def _shuffled(test: Labelled) -> Labelled:
    return test.at(torch.randperm(len(test), generator=_drawn("order")))


def read_all(data: Images, side: int) -> Tensor:
    """All images of a folder, or in memory: (N, C, H, W) uint8, cropped and resized as by `load_pictures`, shuffled.

    Raises:
        DataError: there are fewer than two.
    """
    folder = isinstance(data, (str, Path))
    sources = Photographs.below(Path(data)).paths if folder else [item.source for item in gather(data).items]
    found, _ = _read(sources, np.zeros(len(sources), dtype=np.int64), side)
    found = _shuffled(found)  # they may lie in folders of classes, and a part of them may be measured
    return _grey(Pictures("images", (), found, found)).train.images


def _unlabelled(name: str, sources: Sequence[images.Source | Tensor], side: int) -> Pictures:
    found, remarks = _read(sources, np.zeros(len(sources), dtype=np.int64), side)
    order = torch.randperm(len(found), generator=_drawn("test"))
    count = max(round(_HELD_OUT * len(found)), 1)
    return Pictures(name, (), found.at(order[count:]), found.at(order[:count]), remarks)


def stacked(pictures: Pictures, count: int, session: Session) -> Pictures:
    """Three random grey images in the three colours of each new one: 1000 modes of ten digits (Metz et al. 2017).

    Args:
        pictures: grey, with ten classes.
        count: of training images; a sixth as many test images.
        session: its seed draws which.

    Raises:
        SettingError: there are fewer than 2.
        DataError: the pictures are not grey digits.
    """
    if count < 2:
        raise SettingError("stack", "must be at least 2", got=count)
    if pictures.channels != 1 or pictures.classes != DIGITS:
        raise DataError(f"{pictures.name} cannot be stacked: that needs grey digits, as mnist has", data=pictures.name)
    classes = tuple(f"{number:03}" for number in range(1000))

    def stack(part: Labelled, size: int, name: str) -> Labelled:
        rows = torch.randint(len(part), (3, size), generator=session.rng("stacked", name))
        images = torch.cat([part.images[row] for row in rows], dim=1)
        hundreds, tens, ones = part.labels[rows]
        return Labelled(images, 100 * hundreds + 10 * tens + ones)

    train, test = stack(pictures.train, count, "train"), stack(pictures.test, max(count // 6, 1), "test")
    return replace(pictures, classes=classes, train=train, test=test, stacked=True, stack_seed=session.seed)


def _framed(digits: Digits) -> Labelled:
    """28 x 28 -> 32 x 32: not a pixel of a digit is changed."""
    images = torch.from_numpy(digits.images.copy())
    images = images[:, None] if images.ndim == 3 else images
    return Labelled(functional.pad(images, (2, 2, 2, 2)), torch.from_numpy(digits.labels.copy()))


def _read(
    sources: Sequence[images.Source | Tensor], labels: NDArray[np.int64], side: int
) -> tuple[Labelled, tuple[str, ...]]:
    """Images as bytes, with the labels of those that can be read, and remarks on what was done to them."""
    preprocessing = Preprocessing((side, side), None, "lanczos")
    shapes: set[bool] = set()  # written by several threads, in one step each
    small: set[bool] = set()

    def square(source: images.Source | Tensor) -> Tensor:
        image = images.decode(_bytes(source) if isinstance(source, Tensor) else source, at_least=2 * side)
        shapes.add(image.width == image.height)
        small.add(min(image.size) < side)
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        return (preprocessing(image.crop((left, top, left + short, top + short))) * 255).round().byte()

    batches = list(images.stream(sources, square, batch_size=_READ_AT_ONCE))
    rows = [row for batch in batches for row in batch.rows]
    skipped = [item for batch in batches for item in batch.skipped]
    if len(rows) < 2:
        reason = f" ({skipped[0].reason})" if skipped else ""
        raise DataError(f"only {len(rows)} of {len(sources)} images can be read{reason}: at least 2 are needed")
    remarks = []
    if False in shapes:
        remarks.append("not all images are square: each is cropped to its middle square")
    if True in small:
        remarks.append(f"some images have fewer than {side} pixels on a side and were enlarged")
    if skipped:
        remarks.append(
            f"{len(skipped)} images cannot be read and are left out, as {skipped[0].path}: {skipped[0].reason}"
        )
    pixels = torch.cat([batch.pixels for batch in batches if batch.rows])
    return Labelled(pixels, torch.from_numpy(labels[rows])), tuple(remarks)


def _bytes(pixels: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] -> (H, W, 3)."""
    return (pixels * 255).round().byte().permute(1, 2, 0).numpy()


def _grey(pictures: Pictures) -> Pictures:
    """One channel where all three are alike in every image."""
    parts = pictures.train, pictures.test
    if not all(bool((part.images == part.images[:, :1]).all()) for part in parts):
        return pictures
    train, test = (Labelled(part.images[:, :1].contiguous(), part.labels) for part in parts)
    return replace(pictures, train=train, test=test)
