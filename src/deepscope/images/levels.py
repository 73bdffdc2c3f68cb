"""Grey levels of more than 8 bits as 8 bits: as the file defines them, or a refusal where it does not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscope.images.refusals import Refused

STRIP = 2**22
"""Pixels that are converted at a time."""

_OVERSHOOT = 0.05
"""Of the range: what a filter may have added beyond black and white in an image of floating-point levels."""

_FAINT = 1 / 64
"""Of the range: an image without a level above that would come out black, so the range must be another."""


def to_eight_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image] | None:
    """What turns strips of a loaded image into 8-bit grey; None where its levels are 8 bits as they are.

    16-bit levels keep their high byte, or hold 8 bits where none is above 255; 12-bit ones keep their high 8 bits,
    signed 16-bit ones the high 8 of their 15. Wider integers may hold 8, 16 or all of their bits, and floating-point
    levels [0, 1], [0, 255] or [0, 65535]: the smallest range that holds the image's highest level. Where white is 0 (a
    TIFF's photometric 0), levels are inverted.

    Raises:
        Refused: there are negative levels or some that are not numbers, or no range fits.
    """
    if not image.mode.startswith(("I", "F")) and not _signed(image):
        return None
    top = _top(image)
    invert = image.mode != "L" and _tag(image, 262, 1) == 0
    key = image.info.get("transparency")
    unsigned = _unsigned(image)

    def convert(strip: Image.Image) -> Image.Image:
        values = _values(strip, unsigned=unsigned)
        if values.dtype.kind == "f" or top in (127, 255):
            levels = (np.clip(values / top, 0, 1) * 255 + 0.5).astype(np.uint8)
        else:
            shift = int(top).bit_length() - 8
            levels = (np.clip(values, 0, int(top)) >> shift).astype(np.uint8)
        if invert:
            levels = 255 - levels
        if isinstance(key, int):
            levels[values == key] = 255  # its transparent level is laid on white
        return Image.fromarray(levels)

    return convert


def low_bytes(image: Any) -> list[Any] | None:
    """The tiles of an image not yet loaded, as Pillow would read the low bytes of 16-bit colour; None for other images.

    Of such colour it keeps the high bytes alone.
    """
    order = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    swapped: list[Any] = []
    for tile in image.tile if image.mode in ("RGB", "RGBA") else ():
        mode, *rest = (tile.args,) if isinstance(tile.args, str) else tile.args
        if not str(mode).startswith(("RGB;16", "RGBA;16")):
            return None
        mode = mode[:-1] + order[mode[-1]]
        swapped.append(tile._replace(args=(mode, *rest) if rest else mode))
    return swapped or None


def refuse_faint_colour(image: Image.Image, low: Callable[[], Image.Image]) -> None:
    """Refuse 16-bit colour that would come out black and is not.

    Args:
        image: its high bytes.
        low: gives its low bytes.
    """

    def top(read: Image.Image) -> int:
        return int(np.asarray(read)[..., :3].max())

    high = top(image)
    if high < 256 * _FAINT and (high or top(low())):
        raise Refused("no level of its 16-bit colour is above 1/64 of white, so that it would be black: scale it")


def strips(image: Image.Image, rows: int) -> Iterator[tuple[int, Image.Image]]:
    """The image from top to bottom in strips of `rows` rows: each with the row at which it begins."""
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _top(image: Image.Image) -> float:
    """The level that is white (or black, where that is inverted)."""
    if _tag(image, 258, 16) == 12 and image.mode.startswith("I;16"):
        return 4095
    low, high = _extremes(image)
    if not np.isfinite(low) or not np.isfinite(high):
        raise Refused("some of its levels are not numbers (NaN or infinite): save it with finite levels in [0, 1]")
    bits = _tag(image, 258, 32)
    # Pillow has brought the levels of these formats to 16 bits
    sixteen = image.mode.startswith("I;16") or image.format in ("PNG", "PPM", "JPEG2000")
    if image.mode == "F":
        tops = (1.0, 255.0, 65535.0)
    elif image.mode == "L":
        tops = (127.0,)
    elif sixteen:
        tops = (255.0, 65535.0)
    elif bits == 16:
        tops = (255.0, 32767.0)
    else:
        tops = (255.0, 65535.0, 2.0**32 - 1 if _unsigned(image) else 2.0**31 - 1)
    slack = 1 + _OVERSHOOT if image.mode == "F" else 1
    white = next((top for top in tops if high <= top * slack), 0.0)
    outside = low < (-_OVERSHOOT * min(white, high) if image.mode == "F" else 0)
    faint = white > tops[0] and high < white * _FAINT
    if not white or outside or faint:
        ranges = " nor ".join(f"[0, {top:.0f}]" for top in tops)
        raise Refused(
            f"its levels go from {low:.6g} to {high:.6g}, which fills neither {ranges}: "
            "save it with 8 bits, or scaled to one of these"
        )
    return white


def _extremes(image: Image.Image) -> tuple[float, float]:
    """The lowest and highest level; NaN where one is not a number."""
    unsigned, rows = _unsigned(image), max(1, STRIP // image.width)
    pairs = [(float(v.min()), float(v.max())) for v in (_values(s, unsigned=unsigned) for _, s in strips(image, rows))]
    return float(np.min([low for low, _ in pairs])), float(np.max([high for _, high in pairs]))


def _values(image: Image.Image, *, unsigned: bool) -> NDArray[Any]:
    """(H, W) levels as the file means them."""
    values = np.asarray(image)
    if image.mode == "L":
        return values.view(np.int8)
    return values.view(np.uint32) if unsigned else values


def _signed(image: Image.Image) -> bool:
    """Whether a TIFF's 8 bits have a sign."""
    return image.mode == "L" and _tag(image, 339, 1) == 2


def _unsigned(image: Image.Image) -> bool:
    """Whether a TIFF's 32-bit integers have none: Pillow holds them as signed ones."""
    return image.mode == "I" and image.format == "TIFF" and _tag(image, 339, 1) == 1 and _tag(image, 258, 32) == 32


def _tag(image: Image.Image, number: int, default: int) -> int:
    """A TIFF tag's first value."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    return value[0] if isinstance(value, tuple) else value
