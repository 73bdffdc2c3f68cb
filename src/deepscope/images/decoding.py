"""One image: its bytes to upright RGB pixels, or a refusal."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from deepscope.images.refusals import Refused, UnreadableImage, label, why
from deepscope.images.silence import silent_pillow
from deepscope.names import printable

Source: TypeAlias = "str | Path | bytes | Image.Image | NDArray[Any]"
"""A path, a file's bytes, a decoded image, or an (H, W, 3) or (H, W) uint8 array."""

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of what is read. Formats without a signature, or run by other programs (EPS), are left out."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc"}  # "mif1" may be AVIF

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what sets the image upright."""


@dataclass(frozen=True)
class Limits:
    """What is refused before it costs memory.

    Attributes:
        bytes: in the file.
        pixels: as the header states them, before any scaled decoding. The default is Pillow's own
            hard limit, which holds whatever is given here.
        aspect: longer side over shorter side. Resizing the shorter side of a 1-pixel strip to a
            network's input would make gigabytes of it.
    """

    bytes: int = 256 * 2**20
    pixels: int = 178_956_970
    aspect: int = 200


def decode(source: Source, *, at_least: int | None = None, limits: Limits = Limits()) -> Image.Image:
    """One image as upright 8-bit RGB. May be called from any thread.

    EXIF orientation is applied; of an animation the first frame is taken; transparency is laid on
    white; CMYK JPEGs are read as inverted, as Adobe and the browsers do. 16-bit levels keep their
    high byte; mode I counts as 16-bit; mode F is in [0, 1], or in [0, 255] where a level exceeds 1.
    ICC profiles are not applied: networks were trained on pixels as stored. (libtiff itself may
    write a line about a damaged TIFF to stderr.)

    Args:
        source: what to decode.
        at_least: the shorter side may shrink to no less than this while decoding (JPEG files and
            bytes only, in libjpeg's own steps of 1/2, 1/4, 1/8); None decodes at full size.
            The side that is resized to afterwards changes pixels by about 2/255 on average, twice
            that side by about 0.5/255.
        limits: refuse what is larger.

    Raises:
        UnreadableImage: it is missing, no regular file, empty, truncated, no image, or over a limit.
    """
    try:
        with silent_pillow():
            image = _open(source, at_least, limits)
            image.load()
            return _rgb(_upright(image))
    except Refused as refused:
        reason = str(refused)
    except UnidentifiedImageError:
        reason = "it is no image, or a damaged one, in a format that is read here (" + ", ".join(FORMATS) + ")"
    except Image.DecompressionBombError as error:
        reason = f"it is too large: {error}"
    except Exception as error:  # hostile bytes raise anything inside a decoder
        text = printable(str(error)) or type(error).__name__
        reason = "it is truncated" if "truncated" in text.casefold() else f"it does not decode: {text}"
    raise UnreadableImage(label(source), reason)


def _open(source: Source, at_least: int | None, limits: Limits) -> Image.Image:
    """An image with its header read and checked, its pixels not yet decoded."""
    if isinstance(source, (str, Path)):
        source = _bytes(Path(source), limits)
    if isinstance(source, bytes):
        if not source:
            raise Refused("it is empty")
        if len(source) > limits.bytes:
            raise Refused(f"it has more than {limits.bytes:,} bytes, the limit")
        if source[4:8] == b"ftyp" and source[8:12] in _HEIF_BRANDS:
            raise Refused("it is HEIC, which is not read here: convert it to JPEG or PNG")
        Image.init()
        image = Image.open(io.BytesIO(source), formats=[name for name in FORMATS if name in Image.OPEN])
        _check_size(image.size, limits)
        if at_least is not None:
            side = max(1, at_least)
            image.draft(None, (side, side))  # other formats than JPEG ignore it
        return image
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3) or source.shape[2:] not in ((), (3,)):
            raise Refused(f"an array must be (H, W, 3) or (H, W) uint8, not {source.shape} {source.dtype}")
        _check_size((source.shape[1], source.shape[0]), limits)
        return Image.fromarray(np.array(source, order="C"))
    if isinstance(source, Image.Image):
        _check_size(source.size, limits)
        return source.copy()
    raise Refused("an image is given as a path, a file's bytes, a PIL image or a uint8 array")


def _bytes(path: Path, limits: Limits) -> bytes:
    """A regular file's bytes. Nothing else is even opened: a named pipe would block."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
            raise Refused(f"it is {kind}, not a file")
        with path.open("rb") as file:
            return file.read(limits.bytes + 1)
    except (OSError, ValueError) as error:
        raise Refused(why(path, error)) from None


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    short, long = sorted(size)
    if short < 1:
        raise Refused("it has no pixels")
    if short * long > limits.pixels:
        raise Refused(f"it has {size[0]} x {size[1]} pixels, over the limit of {limits.pixels:,}")
    if long > limits.aspect * short:
        raise Refused(f"it is a strip of {size[0]} x {size[1]} pixels, over the limit of {limits.aspect} to 1")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF does not make the picture unreadable
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bits(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    elif image.mode != "RGB":
        image = image.convert("RGB")
    image.info.clear()  # its orientation has been applied, its colour key and profile belong to the file
    return image


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W) levels of a 16-bit, 32-bit or floating-point grey image; its colour key becomes white."""
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0.0)
        top = 1.0 if values.max() <= 1 else 255.0
        levels = (np.clip(values / top, 0, 1) * 255 + 0.5).astype(np.uint8)
    else:
        levels = (np.clip(values, 0, 0xFFFF) >> 8).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        levels[values == key] = 255
    return levels
