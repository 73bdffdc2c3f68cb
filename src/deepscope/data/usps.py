"""USPS: digits from envelopes, as LIBSVM publishes them."""

from __future__ import annotations

import bz2
import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope.data.dataset import Dataset, path_of
from deepscope.data.digits import Digits, DigitSplit, resized
from deepscope.data.download import Source
from deepscope.errors import FileError

_AT = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"
_SIDE = 16
_MOST = 2**26  # bytes of unpacked text; the larger published file has some 20 million
_MOST_ROWS = 2**16
_SOURCES = Source.each(_AT, ("usps.bz2", "usps.t.bz2"), "usps", most=2**24)


@dataclass(frozen=True)
class Usps(Dataset):
    """Hull, "A Database for Handwritten Text Recognition Research", IEEE TPAMI 1994."""

    summary: ClassVar[str] = "handwritten digits from envelopes, 16 x 16, enlarged to 28 x 28, grey"
    holds: ClassVar[str] = "7291 train, 2007 test"
    licence: ClassVar[str] = "none published"
    sources: ClassVar[tuple[Source, ...]] = _SOURCES
    needs: ClassVar[tuple[str, ...]] = tuple(source.to for source in _SOURCES)

    @classmethod
    def load(cls, home: Path) -> DigitSplit:
        """The 7291 training and 2007 test digits."""
        train, test = (read_libsvm(path_of(home, need)) for need in cls.needs)
        return DigitSplit(train, test)


def read_libsvm(path: Path) -> Digits:
    """A bzip2 file of lines "label 1:value ... 256:value", with labels 1 to 10 for the digits 0 to 9.

    Values from -1 to 1 are the 16 x 16 pixels row by row, ink bright. Images are enlarged to 28 x 28.

    Raises:
        FileError: the file is missing, damaged or too large, or holds something else.
    """
    from sklearn.datasets import load_svmlight_file

    try:
        with bz2.open(path) as file:
            text = file.read(_MOST + 1)
        if len(text) > _MOST:
            raise ValueError(f"it unpacks to more than {_MOST} bytes")
        if text.count(b"\n") > _MOST_ROWS:  # each becomes a row of 256 numbers, however short its line is
            raise ValueError(f"it has more than {_MOST_ROWS} lines")
        rows, labels = load_svmlight_file(io.BytesIO(text), n_features=_SIDE**2, zero_based=False)  # pyright: ignore[reportArgumentType]
    except Exception as error:  # a damaged file fails in any way
        raise FileError(f"{path} cannot be read as USPS digits ({error}): get it again", path=path) from None
    values = rows.toarray()
    if not len(values):
        raise FileError(f"{path} holds no digits: get it again", path=path)
    if not (np.abs(values) <= 1).all():
        raise FileError(f"{path} does not hold USPS digits: expected pixels from -1 to 1", path=path)
    if not np.isin(labels, range(1, 11)).all():
        wrong = labels[~np.isin(labels, range(1, 11))][0]
        raise FileError(f"{path} holds the label {wrong:g}: USPS has 1 to 10, for the digits 0 to 9", path=path)
    pixels = np.rint((values + 1) / 2 * 255).astype(np.uint8).reshape(-1, _SIDE, _SIDE)
    return Digits(resized(pixels), labels.astype(np.int64) - 1)
