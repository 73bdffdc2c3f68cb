"""One image: its bytes to upright RGB pixels, or a refusal."""

from __future__ import annotations

import io
import mmap
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from deepscope.images.bounds import TIFF, Limits, check_bytes, check_planes, check_size, memory_needed
from deepscope.images.files import Source, content
from deepscope.images.levels import STRIP, low_bytes, refuse_faint_colour, strips, to_eight_bits
from deepscope.images.refusals import Exhausted, Refused, UnreadableImage, label, shortage
from deepscope.images.silence import silent_pillow
from deepscope.names import printable

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of the supported formats. Formats without a signature, or run by other programs (EPS), are not."""

REDUCED = 2**25
"""Pixels above which an image that will be made small is made smaller strip by strip, before it is converted."""

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

_LARGE = 128 * 2**20
_ONE_LARGE_AT_A_TIME = threading.Lock()
"""Decodes of more than `_LARGE` bytes wait for each other: eight threads do not need eight times `Limits.memory`."""


def decode(source: Source, *, at_least: int | None = None, limits: Limits = Limits()) -> Image.Image:
    """One image as upright 8-bit RGB. May be called from any thread.

    EXIF orientation is applied; of an animation the first frame is taken; transparency is laid on
    white; CMYK JPEGs are read as inverted, as Adobe and the browsers do. Grey levels of more than 8 bits
    are brought to 8 as `levels.to_eight_bits` says. ICC profiles are not applied: networks were trained
    on pixels as stored. (libtiff itself may write a line about a damaged TIFF to stderr.)

    For a model, call its `Preprocessing` on the source instead: it knows what `at_least` must be.

    Args:
        source: what to decode.
        at_least: the shorter side may shrink to no less than this while decoding: JPEG files and
            bytes in libjpeg's own steps of 1/2, 1/4, 1/8; other images of more than 32 megapixels by the
            mean of squares of pixels. None decodes at full size. The side that is resized to afterwards
            changes pixels by about 2/255 on average, twice that side by about 0.5/255.
        limits: refuse what is larger.

    Raises:
        UnreadableImage: it is missing, not a regular file, empty, truncated, not an image, or over a limit.
        Exhausted: memory or file handles ran out, or the disk failed: the image may be good.
    """
    name = label(source)
    try:
        with silent_pillow():
            return _decoded(source, at_least, limits)
    except Exception as error:  # hostile bytes raise anything inside a decoder
        stop, reason = shortage(name, error), _reason(error)
    if stop:  # raised here, where nothing holds the decoder's frames any more
        raise Exhausted(stop)
    raise UnreadableImage(name, reason)


def _reason(error: Exception) -> str:
    text = printable(str(error)) or type(error).__name__
    if isinstance(error, UnreadableImage):
        return error.reason
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image, or a damaged one, in a supported format (" + ", ".join(FORMATS) + ")"
    if isinstance(error, Image.DecompressionBombError):
        return f"it is too large: {text}"
    return "it is truncated" if "truncated" in text.casefold() else f"it does not decode: {text}"


def _decoded(source: Source, at_least: int | None, limits: Limits) -> Image.Image:
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim not in (2, 3) or source.shape[2:] not in ((), (3,)):
            raise Refused(f"an array must be (H, W, 3) or (H, W) uint8, not {source.shape} {source.dtype}")
        check_size((source.shape[1], source.shape[0]), limits)
        return _finished(Image.fromarray(np.array(source, order="C")), at_least)
    if isinstance(source, Image.Image):
        check_size(source.size, limits)
        source.load()
        return _finished(source, at_least, own=False)
    if not isinstance(source, bytes):
        if not isinstance(source, (str, Path)):
            raise Refused("an image is given as a path, a file's bytes, a PIL image or a uint8 array")
        source = content(source, limits.bytes + 1)
    image = with_header(source, limits)
    full = image.size
    if at_least is not None:
        side = max(1, at_least)
        image.draft(None, (side, side))  # other formats than JPEG ignore it
    factor = _factor(image.size, at_least)
    needed = memory_needed(image, source, full, -(-image.width // factor) * -(-image.height // factor))
    if needed > limits.memory:
        raise Refused(
            f"decoding it takes {needed >> 20:,} MiB of memory, over the limit of {limits.memory >> 20:,} MiB"
        )
    with _ONE_LARGE_AT_A_TIME if needed > _LARGE else nullcontext():
        try:
            tiles = low_bytes(image)
            image.load()
        except Exception:
            if not _available(needed):  # libjpeg, libwebp and others report a shortage as a broken image
                raise MemoryError from None
            raise
        if tiles:
            refuse_faint_colour(image, lambda: _read_as(tiles, source, limits))
        return _finished(image, at_least)


def with_header(data: bytes, limits: Limits) -> Image.Image:
    """An image with its header read and checked, its pixels not yet decoded."""
    check_bytes(data, limits)
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        raise Refused("it is HEIC, which is not supported: convert it to JPEG or PNG")
    Image.init()
    try:
        image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        if data[:4] not in TIFF:
            raise
        kinds = "64-bit levels, several channels of floating point or of more than 16 bits"
        raise Refused(f"it is a damaged TIFF, or of an unsupported kind ({kinds}): save it with 8 bits") from None
    check_size(image.size, limits)
    check_planes(image)
    return image


def _read_as(tiles: list[Any], data: bytes, limits: Limits) -> Image.Image:
    """The image, its bytes unpacked in another way."""
    image: Any = with_header(data, limits)
    image.tile = tiles
    image.load()
    return image


def _factor(size: tuple[int, int], at_least: int | None) -> int:
    """The side of the squares of pixels that become one; 1 for images that are not huge."""
    if at_least is None or size[0] * size[1] <= REDUCED:
        return 1
    return max(1, min(size) // max(1, at_least))


def _finished(image: Image.Image, at_least: int | None, *, own: bool = True) -> Image.Image:
    """A loaded image as upright RGB; a new one unless it is our own."""
    turn = _turn(image)
    made = _rgb(image, _factor(image.size, at_least))
    if turn is not None:
        made = made.transpose(turn)
    elif made is image and not own:
        made = image.copy()
    made.info.clear()  # its orientation has been applied, its colour key and profile belong to the file
    return made


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except MemoryError:
        raise
    except Exception:  # broken EXIF does not make the picture unreadable
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _rgb(image: Image.Image, factor: int) -> Image.Image:
    """An image in RGB, shrunk by averaging squares of `factor` x `factor` pixels, strip by strip to save memory."""
    convert = to_eight_bits(image)

    def opaque(strip: Image.Image) -> Image.Image:
        if convert is not None:
            strip = convert(strip)
        if strip.has_transparency_data:
            strip = strip.convert("RGBA")
            white = Image.new("RGB", strip.size, "white")
            white.paste(strip, mask=strip.getchannel("A"))
            return white
        return strip if strip.mode == "RGB" else strip.convert("RGB")

    as_it_is = image.mode == "RGB" and not image.has_transparency_data
    if factor == 1 and (as_it_is or image.width * image.height <= STRIP):
        return opaque(image)
    made = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top, strip in strips(image, max(1, STRIP // image.width // factor) * factor):
        made.paste(opaque(strip).reduce(factor) if factor > 1 else opaque(strip), (0, top // factor))
    return made


def _available(size: int) -> bool:
    """Whether the system would give the process that much memory."""
    try:
        mmap.mmap(-1, max(1, size)).close()
    except (OSError, ValueError, OverflowError, MemoryError):
        return False
    return True
