"""Handwritten digits in memory, and the idx files that MNIST comes in."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscope.errors import DataError, FileError

SIDE = 28
_UNSIGNED_BYTE = 0x08
_MOST_ITEMS = 1_000_000


@dataclass(frozen=True, eq=False)
class Digits:
    """Images with their labels.

    Attributes:
        images: uint8, (N, 28, 28) grey or (N, 3, 28, 28) colour.
        labels: (N,) int64, 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class DigitSplit:
    """Digits to train on and digits to test with."""

    train: Digits
    test: Digits


def read_idx(path: Path, *, item: tuple[int, ...]) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, gzipped or not, as a (N, *item) array.

    The header is believed only where it fits `item`, a bound on N, and the length of the file.

    Raises:
        FileError: the file is missing, damaged, of another type or shape, or holds more than a million items.
    """
    header = 4 * (2 + len(item))
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(header)
            shape = _shape(path, head, item)
            # One byte more than announced: a longer file is damaged, or packed to fill the memory.
            body = file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(
            f"{path} cannot be read ({error}): get it again with `deepscope data get mnist`", path=path
        ) from None
    if len(body) != math.prod(shape):
        found = f"{len(body)} bytes" if len(body) < math.prod(shape) else "more"
        raise FileError(
            f"{path} is damaged: its header announces {math.prod(shape)} bytes of items, it holds {found}", path=path
        )
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def read_digits(images: Path, labels: Path) -> Digits:
    """An idx file of (28, 28) images with the idx file of their labels.

    Raises:
        FileError: as `read_idx`, or a label is above 9.
        DataError: the files disagree in number.
    """
    pixels, numbers = read_idx(images, item=(SIDE, SIDE)), read_idx(labels, item=())
    if len(pixels) != len(numbers):
        raise DataError(
            f"{images} holds {len(pixels)} images and {labels} {len(numbers)} labels: they do not belong together"
        )
    if numbers.size and numbers.max() > 9:
        raise FileError(f"{labels} holds the label {numbers.max()}: digits are 0 to 9", path=labels)
    return Digits(pixels, numbers.astype(np.int64))


def resized(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W) or (N, H, W, 3) images -> the same of 28 x 28 pixels, bilinear with antialiasing."""
    small = (Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for image in images)
    return np.stack([np.asarray(image) for image in small])


def _shape(path: Path, head: bytes, item: tuple[int, ...]) -> tuple[int, ...]:
    dimensions = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
    if head[:4] != bytes((0, 0, _UNSIGNED_BYTE, 1 + len(item))) or len(dimensions) != 1 + len(item):
        raise FileError(f"{path} is not an idx file of unsigned bytes with {1 + len(item)} dimensions", path=path)
    if dimensions[1:] != item or dimensions[0] > _MOST_ITEMS:
        raise FileError(
            f"{path} announces {dimensions}: expected at most {_MOST_ITEMS} items of shape {item}", path=path
        )
    return dimensions
