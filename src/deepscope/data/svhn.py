"""SVHN: house numbers in photographs, cropped to single digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope.data.dataset import Dataset, path_of
from deepscope.data.digits import Digits, DigitSplit, resized
from deepscope.data.download import Source
from deepscope.errors import FileError

_AT = "http://ufldl.stanford.edu/housenumbers/"
_FILES = ("train_32x32.mat", "test_32x32.mat")
_SIDE = 32
_MOST_ITEMS, _MOST_BYTES = 1_000_000, 2**29


@dataclass(frozen=True)
class Svhn(Dataset):
    """Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", NIPS workshop 2011."""

    summary: ClassVar[str] = "digits of house numbers, 32 x 32, reduced to 28 x 28, colour"
    holds: ClassVar[str] = "73257 train, 26032 test"
    licence: ClassVar[str] = "for non-commercial use"
    needs: ClassVar[tuple[str, ...]] = tuple(f"svhn/{name}" for name in _FILES)
    sources: ClassVar[tuple[Source, ...]] = tuple(
        Source(urls=(f"{_AT}{name}",), to=f"svhn/{name}", most=_MOST_BYTES) for name in _FILES
    )

    @classmethod
    def load(cls, home: Path) -> DigitSplit:
        """The 73257 training and 26032 test digits; takes some seconds."""
        train, test = (read_mat(path_of(home, need)) for need in cls.needs)
        return DigitSplit(train, test)


def read_mat(path: Path) -> Digits:
    """A MATLAB 5 file with images X (32, 32, 3, N) uint8 and labels y (N, 1), where 10 stands for the digit 0.

    Images are reduced to 28 x 28. Announced shapes are compared with these before anything is unpacked.

    Raises:
        FileError: the file is missing, damaged or too large, or holds something else.
    """
    from scipy.io import loadmat, whosmat

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        announced = {name: (shape, kind) for name, shape, kind in whosmat(path)}
        (*item, count), kind = announced.get("X", ((0,), "nothing"))
        if item != [_SIDE, _SIDE, 3] or kind != "uint8" or not 0 < count <= _MOST_ITEMS:
            raise ValueError(f"X is {kind} of shape {(*item, count)}, not uint8 of shape (32, 32, 3, N)")
        if (shape := announced.get("y", ((), ""))[0]) != (count, 1):
            raise ValueError(f"y has the shape {tuple(shape)}, not {(count, 1)}")
        held = loadmat(path, variable_names=["X", "y"])
        images, labels = held["X"], np.asarray(held["y"][:, 0], np.float64)
    except Exception as error:  # a damaged file fails in any way
        raise FileError(f"{path} cannot be read as SVHN digits ({error}): get it again", path=path) from None
    if not np.isin(labels, range(1, 11)).all():
        wrong = labels[~np.isin(labels, range(1, 11))][0]
        raise FileError(f"{path} holds the label {wrong:g}: SVHN has 1 to 10, and 10 stands for 0", path=path)
    return Digits(np.moveaxis(resized(np.moveaxis(images, 3, 0)), 3, 1).copy(), labels.astype(np.int64) % 10)
