"""Limits that are checked before decoding, and the memory that decoding takes."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any

from PIL import Image

from deepscope.images.refusals import Refused

SCANS = 100
"""Scans that a JPEG may have, as in libtiff. Encoders write about 10; each further one is a pass over all pixels."""

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF or a BigTIFF begins."""

_TIFF_VALUES = 1_000_000
"""Values of one TIFF tag. A strip for each row of the largest image is far below."""

_CODESTREAM, _JP2 = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"
"""How a JPEG 2000 begins without a container, and in one."""

_BOXES = 1000
"""Boxes of such a container before the code stream; encoders write about three."""

_COMPONENTS = 4
"""Of a JPEG 2000, at most, as Pillow reads it: colour and transparency."""

_TILE = 12 * 2**10
"""Bytes that OpenJPEG holds per tile of such an image before it decodes any; measured: 11.5 KiB for RGB."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes per pixel that Pillow stores; 4 in all other modes."""

_DECODER = {"WEBP": 16, "AVIF": 12}
"""Bytes per pixel that a decoder holds beside the image; measured: 12 and 6 (AVIF of 8 bits)."""

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True)
class Limits:
    """Limits of images; larger ones are refused before decoding.

    Attributes:
        bytes: in the file.
        pixels: as the header states them, before any scaled decoding. The default is Pillow's own
            hard limit, which holds whatever is given here.
        aspect: longer side over shorter side. Resizing the shorter side of a 1-pixel strip to a
            network's input would take gigabytes.
        memory: bytes that one decode may hold at a time, the file included. 8-bit colour at full size reaches it at
            about 125 megapixels, AVIF at 63, WebP at 50, JPEG 2000 at 45. For a network, at reduced size, PNG and
            baseline JPEG never do; progressive JPEG without subsampling does at 165.
    """

    bytes: int = 256 * 2**20
    pixels: int = 178_956_970
    aspect: int = 200
    memory: int = 960 * 2**20


def check_bytes(data: bytes, limits: Limits) -> None:
    """Refuse files that are expensive even before their header is read."""
    if not data:
        raise Refused("it is empty")
    if len(data) > limits.bytes:
        raise Refused(f"it has more than {limits.bytes:,} bytes, the limit")
    if data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") > SCANS and _scans(data) > SCANS:
        raise Refused(f"it is a JPEG of more than {SCANS} scans, the limit")
    if data[:4] in TIFF:
        _check_tags(data)
    if (start := _codestream(data)) is not None:
        _check_codestream(data, start, limits)


def _check_codestream(data: bytes, start: int, limits: Limits) -> None:
    """Refuse a JPEG 2000 by its own size, which its container may belie: OpenJPEG allocates what it says."""
    if data[start : start + 4] != _CODESTREAM[: len(data) - start]:  # its size may stand anywhere
        raise Refused("it is a damaged JPEG 2000: its code stream does not begin with its size")
    if len(data) < start + 42:
        return  # cut off: decoding says so
    right, below, left, top = struct.unpack_from(">4I", data, start + 8)
    check_size((right - left, below - top), limits)
    (components,) = struct.unpack_from(">H", data, start + 40)
    if components > _COMPONENTS:
        raise Refused(f"it is a JPEG 2000 of {components:,} components, over the limit of {_COMPONENTS}")


def _tiles(data: bytes) -> int:
    """How many tiles a JPEG 2000 has."""
    if (start := _codestream(data)) is None or len(data) < start + 42:
        return 0
    right, below, _, _, width, height, left, top = struct.unpack_from(">8I", data, start + 8)
    return -((left - right) // max(width, 1)) * -((top - below) // max(height, 1))


def _codestream(data: bytes) -> int | None:
    """Where the code stream of a JPEG 2000 begins, in the first box of this kind; None in every other file.

    The bytes of its marker also occur by chance: in one of 65,000 large PNG files.
    """
    if data.startswith(_CODESTREAM):
        return 0
    place = 0
    for _ in range(_BOXES if data.startswith(_JP2) else 0):
        if len(data) < place + 16:
            return None
        length, kind, long = struct.unpack_from(">I4sQ", data, place)
        head, length = (16, long) if length == 1 else (8, length)
        if kind == b"jp2c":
            return place + head
        if length < head:  # it reaches to the end of the file
            return None
        place += length
    if place:
        raise Refused(f"it is a JPEG 2000 of more than {_BOXES} boxes, the limit")
    return None


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Refuse an image of too few or too many pixels, or a strip."""
    short, long = sorted(size)
    if short < 1:
        raise Refused("it has no pixels")
    if short * long > limits.pixels:
        raise Refused(f"it has {size[0]} x {size[1]} pixels, over the limit of {limits.pixels:,}")
    if long > limits.aspect * short:
        raise Refused(f"it is a strip of {size[0]} x {size[1]} pixels, over the limit of {limits.aspect} to 1")


def check_planes(image: Any) -> None:
    """Refuse a TIFF whose channels lie apart and that Pillow would decode to other pixels.

    It reads the bytes of such a channel as 8 bits wherever the file is not compressed, and loses the alpha of grey.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(284, 1) != 2 or len(image.getbands()) < 2:
        return
    bits = tags.get(258, (8,))
    deep = max(bits if isinstance(bits, tuple) else (bits,)) > 8 and tags.get(259, 1) == 1
    if deep or image.mode in ("LA", "PA"):
        raise Refused(
            f"it is a TIFF of {image.mode} whose channels lie apart, which is not supported: save it with the channels "
            "of each pixel side by side (planar configuration 1), or as PNG"
        )


def memory_needed(image: Image.Image, data: bytes, full: tuple[int, int], pixels: int) -> int:
    """Bytes that decoding an open file holds at most at a time, its bytes included.

    Args:
        image: not yet loaded, its scaled decoding set up.
        data: the file.
        full: its size without scaled decoding.
        pixels: of what is to be returned.
    """
    stored = image.width * image.height * _STORED.get(image.mode, 4)
    beside = image.width * image.height * _DECODER.get(image.format or "", 0)
    if image.format in ("JPEG", "MPO") and (image.info.get("progressive") or data.count(b"\xff\xda") > 1):
        beside = 2 * _samples(image) * full[0] * full[1] // 1  # coefficients of the whole image are kept, 16 bits each
    elif image.format == "JPEG2000":
        beside = 6 * image.width * image.height * len(image.getbands())  # 32-bit integers, and the tile as bytes
        beside += _TILE * _tiles(data)
    elif image.format == "TIFF":
        beside = _tiff_part(image)
    return int(len(data) + max(stored + beside, stored + 4 * pixels, 8 * pixels))  # decode, convert, set upright


def _samples(image: Image.Image) -> float:
    """Samples per pixel of a JPEG: 3 of a colour image, 1.5 where its colours have half the resolution."""
    factors: list[tuple[int, int]] = [(layer[1], layer[2]) for layer in getattr(image, "layer", ())]
    highest = max((h for h, _ in factors), default=1) * max((v for _, v in factors), default=1)
    return sum(h * v for h, v in factors) / max(highest, 1) or len(image.getbands())


def _tiff_part(image: Any) -> int:
    """Bytes of the strip or tile that libtiff decodes at a time, and of the copy that is set upright."""
    tags = image.tag_v2
    width, height = (tags[322], tags[323]) if 322 in tags else (image.width, min(tags.get(278, 2**32), image.height))
    samples = 1 if tags.get(284, 1) == 2 else tags.get(277, 1)
    turned = 0 if tags.get(274, 1) == 1 else image.width * image.height * _STORED.get(image.mode, 4)
    return int(width * height * max(samples * max(tags.get(258, (1,))) / 8, 4)) + turned


def _scans(data: bytes) -> int:
    """The scans of the first image in a JPEG file, without those of thumbnails and of what follows it."""
    found, position = 0, 2
    while (marker := _MARKER.search(data, position)) is not None and data[marker.start() + 1] != 0xD9:
        start = marker.start()
        found += data[start + 1] == 0xDA
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return found


def _check_tags(data: bytes) -> None:
    """Refuse a TIFF whose first directory has a tag of millions of values: each becomes an object in Python."""
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset, number, entry = ("Q", "Q", "HHQ") if big else ("I", "H", "HHI")
    size = 20 if big else 12
    try:
        (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + number, data, start)
        start += struct.calcsize(order + number)
        for place in range(start, min(start + entries * size, len(data) - size), size):
            tag, kind, count = struct.unpack_from(order + entry, data, place)
            if kind not in (1, 2, 7) and count > _TIFF_VALUES:
                raise Refused(f"its TIFF tag {tag} claims {count:,} values, over the limit of {_TIFF_VALUES:,}")
    except struct.error:
        return  # cut off: decoding says so
