"""How an image's file is encoded: format, size and quality, from its header."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscope.images.bounds import Limits
from deepscope.images.decoding import decode, with_header
from deepscope.images.silence import silent_pillow

_STANDARD = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22),
        *(29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103),
        *(121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    ]
)
"""The luminance table in annex K of the JPEG standard."""


@dataclass(frozen=True)
class Encoding:
    """What the header of an image's file says.

    Attributes:
        format: Pillow's name: "JPEG", "PNG".
        width, height: in pixels, as stored.
        length: of the file in bytes.
        quality: of a JPEG, on libjpeg's scale from 1 to 100, from its luminance table; NaN for other formats.
    """

    format: str
    width: int
    height: int
    length: int
    quality: float


def decode_with_encoding(data: bytes, *, at_least: int | None = None) -> tuple[Image.Image, Encoding]:
    """An image as `decode` reads it, and how its bytes encode it.

    Raises:
        UnreadableImage, Exhausted: as `decode`.
    """
    image = decode(data, at_least=at_least)  # refuses what cannot be read
    with silent_pillow():
        header: Any = with_header(data, Limits())
    width, height = header.size
    tables = getattr(header, "quantization", None) if header.format in ("JPEG", "MPO") else None
    quality = _quality(sum(tables[0])) if tables and 0 in tables else math.nan
    return image, Encoding(header.format or "", width, height, len(data), quality)


def _quality(total: int) -> float:
    """The quality at which libjpeg scales the standard table to one of nearly this sum."""
    return float(np.abs(_totals() - total).argmin() + 1)


@functools.cache
def _totals() -> NDArray[np.int64]:
    """The sums of libjpeg's luminance tables, for the qualities from 1 to 100."""
    qualities = np.arange(1, 101)
    percent = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    return ((_STANDARD * percent[:, None] + 50) // 100).clip(1, 255).sum(1)
