"""SVHN: house numbers in photographs, cropped to single digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope.data.dataset import Dataset, path_of
from deepscope.data.digits import Digits, DigitSplit, resized
from deepscope.data.download import Source
from deepscope.data.mat import read_arrays
from deepscope.errors import FileError

_AT = "http://ufldl.stanford.edu/housenumbers/"
_SIDE = 32
_MOST_BYTES = 2**29
_SOURCES = Source.each(_AT, ("train_32x32.mat", "test_32x32.mat"), "svhn", most=_MOST_BYTES)


@dataclass(frozen=True)
class Svhn(Dataset):
    """Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", NIPS workshop 2011."""

    summary: ClassVar[str] = "digits of house numbers, 32 x 32, reduced to 28 x 28, colour"
    holds: ClassVar[str] = "73257 train, 26032 test"
    licence: ClassVar[str] = "for non-commercial use"
    sources: ClassVar[tuple[Source, ...]] = _SOURCES
    needs: ClassVar[tuple[str, ...]] = tuple(source.to for source in _SOURCES)

    @classmethod
    def load(cls, home: Path) -> DigitSplit:
        """The 73257 training and 26032 test digits; takes some seconds."""
        train, test = (read_mat(path_of(home, need)) for need in cls.needs)
        return DigitSplit(train, test)


def read_mat(path: Path) -> Digits:
    """A MATLAB 5 file with images X (32, 32, 3, N) uint8 and labels y (N, 1), where 10 stands for the digit 0.

    Images are reduced to 28 x 28.

    Raises:
        FileError: the file is missing, damaged or too large, or holds something else.
    """
    try:
        found = read_arrays(path, ("X", "y"), most=_MOST_BYTES)
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read as SVHN digits ({error}): get it again", path=path) from None
    images, labels = (found.get(name, np.empty(0)) for name in ("X", "y"))
    if images.shape[:-1] != (_SIDE, _SIDE, 3) or images.dtype != np.uint8 or not images.size:
        raise FileError(f"{path}: X is {images.dtype} {images.shape}, not uint8 (32, 32, 3, N)", path=path)
    if labels.shape != (images.shape[3], 1):
        raise FileError(f"{path}: y has the shape {labels.shape}, not {(images.shape[3], 1)}", path=path)
    if not (right := np.isin(labels, range(1, 11))).all():
        wrong = labels[~right][0]
        raise FileError(f"{path} holds the label {wrong:g}: SVHN has 1 to 10, and 10 stands for 0", path=path)
    small = resized(np.ascontiguousarray(np.moveaxis(images, 3, 0)))
    return Digits(np.ascontiguousarray(np.moveaxis(small, 3, 1)), labels[:, 0].astype(np.int64) % 10)
