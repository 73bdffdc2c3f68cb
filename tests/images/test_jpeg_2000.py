"""JPEG 2000: what its code stream says of its size, tiles and components is compared with the limits."""

from __future__ import annotations

import struct

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deepscope import images
from deepscope.images import Limits
from image_files import blocks, corpus, encoded, reason


def test_the_size_in_a_jpeg_2000_codestream_counts_whatever_its_container_says() -> None:
    data = bytearray(corpus()["jp2"])
    place = data.index(b"\xff\x4f\xff\x51") + 8
    data[place : place + 8] = struct.pack(">2I", 60_000, 60_000)
    assert "60000 x 60000" in reason(bytes(data))


_MARKER = b"\xff\x4f\xff\x51" + bytes(20)
"""How a JPEG 2000 code stream of no pixels begins: compressed images hold these bytes by chance."""


def test_the_marker_of_a_jpeg_2000_means_nothing_in_other_files() -> None:
    picture = Image.fromarray(blocks())
    chunk = PngInfo()
    chunk.add(b"prVt", _MARKER)
    for data in (
        encoded(picture, "PNG", pnginfo=chunk),
        encoded(picture, "JPEG", quality=100, subsampling=0, comment=_MARKER),
        encoded(picture, "TIFF") + _MARKER,
    ):
        assert _MARKER in data
        assert images.decode(data).size == picture.size


def test_a_codestream_is_found_behind_boxes_that_hold_its_marker() -> None:
    data = corpus()["jp2"]
    place = data.index(b"jp2c") - 4
    box = struct.pack(">I4s", 8 + len(_MARKER), b"uuid") + _MARKER
    long = struct.pack(">I4sQ", 1, b"uuid", 16 + len(_MARKER)) + _MARKER
    before = data[:place] + box + long
    assert images.decode(before + data[place:]).size == images.decode(data).size
    start = data.index(b"\xff\x4f\xff\x51") + 8
    huge = data[:start] + struct.pack(">2I", 60_000, 60_000) + data[start + 8 :]
    assert "60000 x 60000" in reason(before + huge[place:])
    assert "more than 1000 boxes" in reason(data[:place] + 2000 * box + data[place:])
    for end in range(place, place + 8):
        assert reason(data[:end]), "cut short"


_HEAD = 8
"""Bytes of a code stream before its size."""


def parts() -> tuple[bytes, bytes]:
    """A sound file's container, to the length of its last box, and its code stream."""
    data = corpus()["jp2"]
    start = data.index(b"\xff\x4f\xff\x51")
    return data[: start - 8], data[start:]


def contained(stream: bytes, size: tuple[int, int] = (64, 48), components: int = 3) -> bytes:
    """A file of this code stream: OpenJPEG reads the first of two headers, and Pillow the last one."""
    container, _ = parts()
    place = container.index(b"ihdr") - 4
    own = struct.pack(">I4s2IH4B", 22, b"ihdr", size[1], size[0], components, 7, 7, 0, 0)
    length = struct.unpack_from(">I", container, place - 8)[0] + len(own)
    boxes = struct.pack(">I", length) + container[place - 4 : place] + own + container[place:]
    box = struct.pack(">I4s", 8, b"free")  # Pillow looks no further
    return container[: place - 8] + boxes + box + struct.pack(">I4s", len(stream) + 8, b"jp2c") + stream


def sized(components: int, tile: tuple[int, int]) -> bytes:
    """The code stream with another number of components and other tiles."""
    _, stream = parts()
    end = 4 + struct.unpack_from(">H", stream, 4)[0]
    about = struct.pack(">8IH", 64, 48, 0, 0, *tile, 0, 0, components) + b"\x07\x01\x01" * components
    return stream[:4] + struct.pack(">2H", len(about) + 4, 0) + about + stream[end:]


def test_a_code_stream_of_many_components_is_refused_whatever_its_container_says() -> None:
    assert images.decode(contained(sized(3, (64, 48)))).size == (64, 48)
    for data in (contained(sized(1000, (2, 2)), components=1000), contained(sized(5, (64, 48)), components=5)):
        assert "components, over the limit of 4" in reason(data)


def test_the_size_of_a_code_stream_hides_behind_no_other_marker() -> None:
    _, stream = parts()
    decoy = struct.pack(">8IH", 64, 48, 0, 0, 64, 48, 0, 0, 3)
    huge = struct.pack(">2I", 60_000, 60_000)
    hidden = stream[:2] + b"\xff\x30" + bytes(4) + decoy + stream[2:_HEAD] + huge + stream[_HEAD + 8 :]
    assert "does not begin with its size" in reason(contained(hidden, (60_000, 60_000)))


def test_the_memory_of_tiles_is_counted() -> None:
    """OpenJPEG holds 11.5 KiB for each of them, of however few pixels."""
    few, many = contained(sized(3, (64, 48))), contained(sized(3, (2, 2)))
    for data, limit in ((few, 2**20), (many, 768 * 16 * 2**10)):
        assert images.decode(data, limits=Limits(memory=limit)).size == (64, 48)
    assert "of memory, over the limit" in reason(many, Limits(memory=768 * 11 * 2**10))
