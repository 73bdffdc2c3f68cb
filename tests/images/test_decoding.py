"""The same picture from every format, at full and at reduced size."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import ExifTags, Image

from deepscope import images
from image_files import (
    LOSSLESS,
    LOSSY,
    blocks,
    corpus,
    difference,
    encoded,
    photograph,
    pixels,
    png,
)


@pytest.mark.parametrize("key", LOSSLESS)
def test_lossless_formats_give_the_same_pixels(key: str) -> None:
    assert (pixels(corpus()[key]) == blocks()).all()


@pytest.mark.parametrize("key", [*LOSSY, "jpeg-cmyk"])
def test_lossy_formats_give_nearly_the_same_pixels(key: str) -> None:
    assert np.median(difference(pixels(corpus()[key]), blocks())) <= 2  # edges bleed where colour is subsampled


@pytest.mark.parametrize("key", ["gif", "png-palette", "tiff-cmyk", "png-alpha", "png-16"])
def test_other_modes_give_the_same_pixels(key: str) -> None:
    assert (pixels(corpus()[key]) == blocks()).all()  # 48 colours fit a palette; naive CMYK of these is exact


def test_a_path_its_bytes_an_image_and_an_array_are_the_same_picture(tmp_path: Path) -> None:
    data = corpus()["png"]
    (tmp_path / "a.png").write_bytes(data)
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), data, Image.open(tmp_path / "a.png"), blocks()]
    for source in sources:
        assert (pixels(source) == blocks()).all()


def test_a_callers_image_and_array_are_left_alone() -> None:
    array = blocks()
    image = Image.fromarray(array)
    for source in (array, image):
        images.decode(source).putpixel((0, 0), (1, 2, 3))
    assert (array == blocks()).all()
    assert (np.asarray(image) == blocks()).all()


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
@settings(max_examples=60, deadline=None)
def test_any_picture_survives_every_lossless_format(array: np.ndarray) -> None:
    image = Image.fromarray(array)
    assert (pixels(array) == array).all()
    for name, options in LOSSLESS.values():
        assert (pixels(encoded(image, name, **options)) == array).all(), name


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("key", ["png", "webp", "tiff", "jpeg"])
def test_every_exif_orientation_is_set_upright(orientation: int, key: str) -> None:
    upright = blocks()
    stored = {  # what a camera held that way writes; by NumPy alone, as an oracle
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    name, options = {**LOSSLESS, **LOSSY}[key]
    decoded = images.decode(encoded(Image.fromarray(np.ascontiguousarray(stored)), name, exif=exif, **options))
    assert difference(np.asarray(decoded), upright).mean() < (2.5 if key == "jpeg" else 1e-9)
    assert (pixels(decoded) == np.asarray(decoded)).all()  # decoding what was decoded turns nothing again


def test_broken_exif_does_not_spoil_the_picture() -> None:
    image = Image.fromarray(blocks())
    for exif in (
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x01zzzz",
    ):
        assert difference(pixels(encoded(image, "JPEG", quality=95, subsampling=0, exif=exif)), blocks()).mean() < 2.5


def test_grey_pictures_have_three_equal_channels() -> None:
    grey = blocks()[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    sixteen = grey.astype(np.uint16) * 257
    for source in (
        grey,
        encoded(Image.fromarray(grey), "PNG"),
        encoded(Image.fromarray(grey).convert("LA"), "PNG"),
        png(sixteen, colour=0),
        png(grey.astype(np.uint16) << 8, colour=0),
        encoded(Image.fromarray(sixteen), "TIFF"),
        encoded(Image.fromarray(sixteen), "PPM"),
        encoded(Image.fromarray(sixteen.astype(np.int32)), "TIFF"),
        encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        encoded(Image.fromarray(grey.astype(np.float32)), "TIFF"),
    ):
        assert (pixels(source) == expected).all()


def test_black_and_white() -> None:
    bits = Image.fromarray(blocks()[:, :, 0]).convert("1")
    expected = np.where(np.asarray(bits)[:, :, None], 255, 0).repeat(3, axis=2)
    assert (pixels(encoded(bits, "PNG")) == expected).all()
    assert (pixels(encoded(bits, "TIFF", compression="group4")) == expected).all()


def test_transparency_is_laid_on_white() -> None:
    colour, alpha = blocks(), blocks(seed=1)[:, :, :1]
    weight = alpha.astype(float) / 255
    on_white = colour * weight + 255 * (1 - weight)
    rgba = Image.fromarray(np.concatenate([colour, alpha], axis=2))
    for name in ("PNG", "TIFF"):
        assert difference(pixels(encoded(rgba, name)), on_white.round()).max() <= 1
    la = Image.merge("LA", (Image.fromarray(colour[:, :, 0]), Image.fromarray(alpha[:, :, 0])))
    assert difference(pixels(encoded(la, "PNG"))[:, :, 0], on_white.round()[:, :, 0]).max() <= 1


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_is_white(name: str) -> None:
    palette = Image.fromarray(blocks()).quantize()
    index = palette.getpixel((0, 0))
    expected = np.where((np.asarray(palette) == index)[:, :, None], 255, blocks())
    assert (pixels(encoded(palette, name, transparency=index)) == expected).all()


def test_a_palette_with_an_alpha_for_each_colour() -> None:
    palette = Image.fromarray(blocks()).quantize()
    index = int(np.asarray(palette)[0, 0])
    table = bytes(0 if entry == index else 255 for entry in range(256))
    expected = np.where((np.asarray(palette) == index)[:, :, None], 255, blocks())
    assert (pixels(encoded(palette, "PNG", transparency=table)) == expected).all()


def test_a_colour_key_is_white_in_8_and_in_16_bits() -> None:
    key = tuple(int(level) for level in blocks()[0, 0])
    expected = np.where((blocks() == key).all(axis=2, keepdims=True), 255, blocks())
    assert (pixels(encoded(Image.fromarray(blocks()), "PNG", transparency=key)) == expected).all()
    grey = np.array([[0, 1000, 0x1234, 0xFFFF]], dtype=np.uint16)
    assert pixels(png(grey, colour=0, key=struct.pack(">H", 0x1234)))[0, :, 0].tolist() == [0, 3, 255, 255]


def test_cmyk_jpegs_are_read_as_inverted_with_adobes_mark_and_without() -> None:
    data = corpus()["jpeg-cmyk"]
    assert b"Adobe" in data
    for jpeg in (data, data.replace(b"Adobe", b"Other")):
        assert difference(pixels(jpeg), blocks()).mean() < 2.5


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(name: str) -> None:
    first, second = (Image.fromarray(blocks(seed)) for seed in (0, 1))
    options: dict[str, object] = {"lossless": True} if name == "WEBP" else {}
    frames = [first.quantize(), second.quantize()] if name == "GIF" else [first, second]
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 2
    assert (pixels(data) == blocks()).all()


@pytest.mark.parametrize("at_least", [32, 64, 100, 128, 383, 384, 385, 5000])
@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decoding_shrinks_to_no_less_than_asked(at_least: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(Image.fromarray(photograph()), "JPEG", quality=95, exif=exif)
    image = images.decode(data, at_least=at_least)
    factor = next(f for f in (8, 4, 2, 1) if 384 // at_least >= f or f == 1)
    assert sorted(image.size) == [384 // factor, 512 // factor]


def test_scaled_decoding_is_close_to_decoding_and_resizing() -> None:
    data = encoded(Image.fromarray(photograph(768, 1024)), "JPEG", quality=95)
    full = np.asarray(images.decode(data).resize((128, 96), Image.Resampling.BILINEAR))
    for at_least, tolerance in ((96, 5.0), (192, 1.5)):
        image = images.decode(data, at_least=at_least)
        assert min(image.size) == at_least
        error = difference(np.asarray(image.resize((128, 96), Image.Resampling.BILINEAR)), full).mean()
        assert error < tolerance, (at_least, error)


def test_other_formats_and_decoded_images_ignore_at_least() -> None:
    for source in (corpus()["png"], corpus()["webp"], corpus()["tiff"], corpus()["gif"], blocks()):
        assert (pixels(source, at_least=8) == blocks()).all()
