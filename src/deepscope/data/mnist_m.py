"""MNIST-M: digits blended with photographs, generated from integers only.

A pixel is the absolute difference of the digit and a random patch of a random photograph, in each
channel (Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 2016). The patch of
digit i follows from i through splitmix64 (Steele et al., "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014), written out here, so that no library's version can change the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscope.data.digits import SIDE, Digits
from deepscope.errors import DataError

_CHUNK = 512


@dataclass(frozen=True, eq=False)
class Backgrounds:
    """Photographs, end to end in one array, so that patches of many are gathered in one step.

    Attributes:
        pixels: (P, 3) uint8, all photographs' pixels row by row.
        starts: (M,) where each photograph begins.
        heights, widths: (M,) each at least 28.
    """

    pixels: NDArray[np.uint8]
    starts: NDArray[np.int64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]

    @classmethod
    def of(cls, photographs: Iterable[Image.Image]) -> Backgrounds:
        """Raises DataError where there is no photograph, or one is smaller than 28 x 28."""
        arrays = [np.asarray(photograph.convert("RGB")) for photograph in photographs]
        if not arrays or min(min(array.shape[:2]) for array in arrays) < SIDE:
            raise DataError(f"backgrounds need at least one photograph, each of at least {SIDE} x {SIDE} pixels")
        sizes = np.array([array.shape[:2] for array in arrays], dtype=np.int64)
        areas = sizes.prod(axis=1)
        pixels = np.concatenate([array.reshape(-1, 3) for array in arrays])
        return cls(pixels, np.cumsum(areas) - areas, sizes[:, 0], sizes[:, 1])

    def patches(self, numbers: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The patch that belongs to each number: (N,) -> (N, 28, 28, 3)."""
        counters = numbers.astype(np.uint64) * np.uint64(3)
        which = _below(len(self.starts), counters)
        top = _below(self.heights[which] - SIDE + 1, counters + np.uint64(1))
        left = _below(self.widths[which] - SIDE + 1, counters + np.uint64(2))
        corners = self.starts[which] + top * self.widths[which] + left
        rows = corners[:, None] + np.arange(SIDE) * self.widths[which][:, None]
        runs = np.lib.stride_tricks.sliding_window_view(self.pixels.reshape(-1), 3 * SIDE)  # a patch's row is one run
        return runs[3 * rows].reshape(-1, SIDE, SIDE, 3)


def blend(digits: NDArray[np.uint8], numbers: NDArray[np.integer], backgrounds: Backgrounds) -> NDArray[np.uint8]:
    """Digits on photographs; a batch at a time gives the same as all at once.

    Args:
        digits: (N, 28, 28).
        numbers: (N,) each digit's number in its set; it alone chooses the patch.
        backgrounds: what the patches are cut from.

    Returns:
        (N, 3, 28, 28) uint8.
    """
    blended = np.empty((len(digits), 3, SIDE, SIDE), dtype=np.uint8)
    for at in range(0, len(digits), _CHUNK):
        rows = slice(at, at + _CHUNK)
        patches = np.ascontiguousarray(np.moveaxis(backgrounds.patches(numbers[rows]), -1, 1))
        digit = digits[rows, None]
        blended[rows] = np.maximum(patches, digit) - np.minimum(patches, digit)
    return blended


def blended(digits: Digits, photographs: Iterable[Image.Image]) -> Digits:
    """The whole set on these photographs, labels kept."""
    return Digits(blend(digits.images, np.arange(len(digits)), Backgrounds.of(photographs)), digits.labels)


def divided(photographs: Sequence[Image.Image]) -> tuple[list[Image.Image], list[Image.Image]]:
    """Photographs for train and for test: every fifth one is kept for test, so no background is in both."""
    test = set(range(0, len(photographs), 5))
    train = [photograph for at, photograph in enumerate(photographs) if at not in test]
    return train, [photographs[at] for at in sorted(test)]


def _below(limits: NDArray[np.int64] | int, counters: NDArray[np.uint64]) -> NDArray[np.int64]:
    """A number from 0 to below each limit for each counter; limits are far below 2**32."""
    high = _splitmix64(counters) >> np.uint64(32)
    return ((high * np.asarray(limits).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def _splitmix64(counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The counter-th number of splitmix64's stream from seed 0; arithmetic is modulo 2**64."""
    z = (counters + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
