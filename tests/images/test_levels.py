"""Grey levels of more than 8 bits: as scikit-image and NumPy read them, or refused; never a silent black picture."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.util import img_as_ubyte

from deepscope import images
from deepscope.images import decoding
from deepscope.images import levels as converting
from image_files import pixels, reason

RAMP = np.arange(6 * 256).reshape(6, 256)
"""0 to 1535 in order."""


def tiff(levels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, **{"photometric": "minisblack", **options})
    return buffer.getvalue()


def grey(source: images.Source) -> np.ndarray:
    """(H, W) levels of a picture whose channels are equal."""
    read = pixels(source)
    assert (read == read[..., :1]).all()
    return read[..., 0]


def spread(kind: str) -> np.ndarray:
    """(6, 256) levels from 0 to the highest of an integer type."""
    return np.linspace(0, np.iinfo(kind).max, RAMP.size).astype(kind).reshape(RAMP.shape)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "uint32", "int32"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"rowsperstrip": 1}])
def test_integers_that_fill_their_type_are_read_as_scikit_image_reads_them(
    kind: str, options: dict[str, object]
) -> None:
    levels = spread(kind)
    data = tiff(levels, **options)
    assert (tifffile.imread(io.BytesIO(data)) == levels).all()
    try:
        read = grey(data)
    except images.UnreadableImage as refused:  # Pillow knows no such TIFF
        assert (kind, options.get("byteorder")) == ("uint32", ">")
        assert "TIFF" in refused.reason
    else:
        assert (read == img_as_ubyte(levels)).all()


@pytest.mark.parametrize("kind", ["uint32", "int32", "int16", "float32"])
def test_wide_levels_that_hold_8_or_16_bits(kind: str) -> None:
    eight = (RAMP % 256).astype(kind)
    assert (grey(tiff(eight)) == RAMP % 256).all()
    if kind != "int16":
        sixteen = (RAMP % 256) * 257
        assert (np.abs(grey(tiff(sixteen.astype(kind))).astype(int) - RAMP % 256) <= 1).all()


def test_floating_point_between_0_and_1_is_as_scikit_image_reads_it() -> None:
    levels = np.linspace(0, 1, RAMP.size).reshape(RAMP.shape).astype(np.float32)
    assert (np.abs(grey(tiff(levels)).astype(int) - img_as_ubyte(levels).astype(int)) <= 1).all()  # they round to even
    ringing = levels * 1.06 - 0.03  # a filter's overshoot is clipped: the rest stays where it is
    wanted = np.clip(np.round(ringing.clip(0, 1) * 255), 0, 255)
    assert (np.abs(grey(tiff(ringing.astype(np.float32))) - wanted) <= 1).all()


@pytest.mark.parametrize(
    "levels",
    [
        pytest.param(np.array([[0, 1], [np.nan, 0.5]], np.float32), id="NaN"),
        pytest.param(np.array([[0, 1], [np.inf, 0.5]], np.float32), id="infinite"),
        pytest.param(np.array([[-1, 0], [1, 0.5]], np.float32), id="from -1 to 1"),
        pytest.param(np.array([[-1024, 0], [3000, 40]], np.float32), id="Hounsfield units"),
        pytest.param(np.array([[0, 1.5], [1, 0.5]], np.float32), id="brighter than white"),
        pytest.param(np.array([[0, 1e6], [1e7, 0.5]], np.float32), id="counts"),
        pytest.param(np.array([[-1024, 0], [3000, 40]], np.int16), id="signed 16 bits"),
        pytest.param(np.array([[0, 256], [400, 40]], np.int16), id="signed, faint"),
        pytest.param(np.array([[-1, 0], [3000, 40]], np.int32), id="signed 32 bits"),
        pytest.param(np.array([[-1, 0], [100, 40]], np.int8), id="signed 8 bits"),
        pytest.param(np.array([[0, 70000], [80000, 40]], np.uint32), id="17 bits of 32"),
    ],
)
def test_levels_of_which_nobody_knows_what_is_white_are_refused(levels: np.ndarray) -> None:
    said = reason(tiff(levels))
    assert "levels" in said
    assert "save it" in said


def test_signed_8_bits_without_a_negative_level() -> None:
    levels = (RAMP % 128).astype(np.int8)
    assert (np.abs(grey(tiff(levels)).astype(int) - img_as_ubyte(levels).astype(int)) <= 1).all()


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "bool"])
def test_where_white_is_zero_levels_are_inverted(kind: str) -> None:
    levels = RAMP % 2 > 0 if kind == "bool" else (RAMP % 256 / 255).astype(kind)
    if kind.startswith("u"):
        levels = (RAMP % 256 * (257 if kind == "uint16" else 1)).astype(kind)
    wanted = 255 - np.round(levels.astype(float) / levels.max() * 255)
    assert (np.abs(grey(tiff(levels, photometric="miniswhite")) - wanted) <= 1).all()


def test_twelve_bits_are_packed_or_padded() -> None:
    levels = np.array([[0, 1000, 2048, 4095]], np.uint16)
    packed = bytes([0, 0x03, 0xE8, 0x80, 0x0F, 0xFF])
    head = io.BytesIO()
    tifffile.imwrite(head, np.frombuffer(packed, np.uint8)[None], photometric="minisblack")
    data = bytearray(head.getvalue())
    for tag, value in ((256, 4), (258, 12)):  # width and bits of what is stored
        place = data.index(tag.to_bytes(2, "little"))
        data[place + 8 : place + 10] = value.to_bytes(2, "little")
    assert grey(bytes(data)).tolist() == (levels >> 4).tolist()


def test_sixteen_bits_in_three_channels_and_floating_point_colour() -> None:
    colour = np.stack([spread("uint16"), spread("uint16")[::-1], spread("uint16")[:, ::-1]], axis=2)
    assert (pixels(tiff(colour, photometric="rgb")) == img_as_ubyte(colour)).all()
    for kind in ("float32", "uint32", "int16"):
        assert "TIFF" in reason(tiff((colour / 65535).astype(kind), photometric="rgb"))
    assert "TIFF" in reason(tiff(colour[..., 0] / 65535))  # 64 bits


def sixteen(levels: np.ndarray, name: str) -> bytes:
    if name == "TIFF":
        return tiff(levels.astype(np.uint16))
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint16)).save(buffer, name)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["TIFF", "PNG", "PPM", "JPEG2000"])
def test_16_bit_levels_in_few_bits_never_come_out_black(name: str) -> None:
    assert (grey(sixteen(np.full((40, 40), 200), name)) == 200).all()
    assert (grey(sixteen(RAMP % 256, name)) == RAMP % 256).all()
    assert (grey(sixteen(np.zeros((40, 40)), name)) == 0).all()
    for high in (256, 711, 1023):  # at most 3 of 255
        assert "save it" in reason(sixteen(RAMP.clip(0, high), name))
    for high in (1024, 4095):  # dark, and seen
        levels = np.linspace(0, high, RAMP.size).astype(np.uint16).reshape(RAMP.shape)
        assert (grey(sixteen(levels, name)) == img_as_ubyte(levels)).all()


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(tiff(np.float32(RAMP % 256) / 255), id="float"),
        pytest.param(tiff(RAMP.astype(np.int32)), id="int32"),  # only its last row is above 1279
        pytest.param(tiff((RAMP * 40).astype(np.uint16), photometric="miniswhite"), id="white is zero"),
        pytest.param(Image.fromarray(np.uint8(RAMP % 256)).convert("LA"), id="LA"),
        pytest.param(Image.fromarray(np.uint8(RAMP % 256)).quantize(7), id="palette"),
        pytest.param(Image.fromarray(np.uint8(np.stack([RAMP % 256] * 4, axis=2)), "RGBA"), id="RGBA"),
        pytest.param(Image.fromarray(np.uint8(np.stack([RAMP % 256] * 4, axis=2)), "CMYK"), id="CMYK"),
    ],
)
def test_conversion_in_strips_is_that_of_the_whole(
    picture: images.Source, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pixels(picture)
    for module in (decoding, converting):
        monkeypatch.setattr(module, "STRIP", 256 * rows)
    assert (pixels(picture) == whole).all()
    monkeypatch.setattr(decoding, "REDUCED", 256)
    reduced = pixels(picture, at_least=3)  # half of 6
    wanted = whole.reshape(3, 2, 128, 2, 3).mean((1, 3))
    assert reduced.shape == (3, 128, 3)
    assert np.abs(reduced - wanted).max() <= 1


@pytest.mark.parametrize(("photometric", "extra"), [("rgb", 0), ("rgb", 1), ("separated", 0), ("minisblack", 1)])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}, {"tile": (16, 16)}])
def test_channels_that_lie_apart_are_those_side_by_side_or_refused(
    photometric: str, extra: int, kind: str, options: dict[str, object]
) -> None:
    channels = {"rgb": 3, "separated": 4, "minisblack": 1}[photometric] + extra
    levels = np.random.default_rng(0).integers(256, size=(channels, 32, 48)).astype(kind)
    levels = levels * 257 if kind == "uint16" else levels
    named = {"photometric": photometric, "extrasamples": ["unassalpha"] * extra}
    apart = tiff(levels, planarconfig="separate", **named, **options)
    if ("compression" in options and photometric != "minisblack") or (kind == "uint8" and photometric != "minisblack"):
        beside = tiff(levels.transpose(1, 2, 0), planarconfig="contig", **named)
        assert (pixels(apart) == pixels(beside)).all()
    else:
        assert "TIFF" in reason(apart)


def png_of_16_bits(levels: np.ndarray) -> bytes:
    height, width, channels = levels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("options", [None, {}, {"compression": "zlib"}, {"byteorder": ">"}])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_that_would_come_out_black_is_refused(options: dict[str, object] | None, channels: int) -> None:
    def file(level: int) -> bytes:
        levels = np.full((20, 30, channels), level, np.uint16)
        levels[..., 3:] = 65535
        return png_of_16_bits(levels) if options is None else tiff(levels, **{"photometric": "rgb", **options})

    for level in (0, 1024, 65535):
        assert (pixels(file(level)) == level >> 8).all()
    for level in (1, 200, 256, 1023):
        assert "16-bit" in reason(file(level))
