"""Images from memory that decode to different pixels have different digests."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ExifTags, Image

from deepscope.images import decode, digest


def _transparent(alpha: int) -> Image.Image:
    return Image.fromarray(np.dstack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8), alpha, np.uint8)]))


def _deep(level: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8), level, np.uint16))


def _turned(orientation: int) -> Image.Image:
    image = Image.fromarray(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3))
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return image


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_transparent(0), _transparent(255)),
        (_deep(20_000), _deep(60_000)),
        (_turned(1), _turned(6)),
    ],
    ids=["alpha", "16 bits", "orientation"],
)
def test_other_pixels_have_another_digest(first: Image.Image, second: Image.Image) -> None:
    assert not np.array_equal(np.asarray(decode(first)), np.asarray(decode(second)))
    assert digest(first) != digest(second)
    assert digest(first) == digest(first.copy())


def test_a_plain_image_has_the_digest_of_its_array() -> None:
    levels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    assert digest(Image.fromarray(levels)) == digest(levels)
