"""Images from the wild: the same picture from every format, bad files refused in one line, rows that never shift."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import threading
import warnings
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import ExifTags, Image, ImageFile, ImageOps, features

from deepscope import images
from deepscope.errors import InputError
from deepscope.images import Limits, Skipped, UnreadableImage

SMALL = Limits(pixels=10**6)
"""Keeps a mutated header from asking for hundreds of megabytes."""


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def blocks(seed: int = 0) -> np.ndarray:
    """(48, 64, 3) uint8 of flat 8 x 8 squares: lossy formats keep these nearly exactly."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return colours.repeat(8, axis=0).repeat(8, axis=1)


def photograph(height: int = 384, width: int = 512, seed: int = 0) -> np.ndarray:
    """Smooth colour with edges, as photographs have."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def pixels(source: images.Source, at_least: int | None = None) -> np.ndarray:
    image = images.decode(source, at_least=at_least)
    assert image.mode == "RGB"
    return np.asarray(image)


def reason(source: images.Source, limits: Limits = SMALL) -> str:
    with pytest.raises(UnreadableImage) as caught:
        images.decode(source, limits=limits)
    assert "\n" not in str(caught.value)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b.astype(int))


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.resize((4, 4)))).permute(2, 0, 1)


def png(levels: np.ndarray, *, colour: int, key: bytes = b"") -> bytes:
    """A 16-bit PNG written by hand, byte by byte: Pillow writes only some of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = levels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    transparent = chunk(b"tRNS", key) if key else b""
    body = chunk(b"IHDR", header) + transparent + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# ---------------------------------------------------------------- the same picture from every format

LOSSLESS: dict[str, tuple[str, dict[str, object]]] = {
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "jp2": ("JPEG2000", {}),
}
LOSSY: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "jpeg-progressive": ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
    "webp-lossy": ("WEBP", {"quality": 95}),
}
if features.check("avif"):
    LOSSY["avif"] = ("AVIF", {"quality": 95})


def corpus(seed: int = 0) -> dict[str, bytes]:
    image = Image.fromarray(blocks(seed))
    made = {key: encoded(image, name, **options) for key, (name, options) in {**LOSSLESS, **LOSSY}.items()}
    made["gif"] = encoded(image.quantize(), "GIF")
    made["png-palette"] = encoded(image.quantize(), "PNG")
    made["jpeg-cmyk"] = encoded(image.convert("CMYK"), "JPEG", quality=95)
    made["tiff-cmyk"] = encoded(image.convert("CMYK"), "TIFF")
    made["png-alpha"] = encoded(image.convert("RGBA"), "PNG")
    made["png-16"] = png(blocks(seed).astype(np.uint16) * 257, colour=2)
    return made


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


def test_floating_point_levels_out_of_range_and_not_a_number() -> None:
    levels = np.array([[-5.0, 0.0, 0.5], [1.0, np.nan, -np.inf]], dtype=np.float32)
    assert pixels(encoded(Image.fromarray(levels), "TIFF"))[..., 0].tolist() == [[0, 0, 128], [255, 0, 0]]


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


# ---------------------------------------------------------------- scaled decoding


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


# ---------------------------------------------------------------- refusals


def test_what_is_no_readable_file_is_refused_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>404</html>")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.png"))
        for name, said in {
            "pipe.png": "not a file",
            "s.png": "not a file",
            "broken.png": "a link to a file that does not exist",
            "circle.png": "cannot be read",
            "missing.png": "no such file",
            "empty.png": "empty",
            "text.png": "no image",
            ".": "a folder",
            "x" * 300 + ".png": "cannot be read",
            "null\0byte.png": "cannot be read",
        }.items():
            assert said in reason(tmp_path / name), name
    assert "not a file" in reason("/dev/zero")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(corpus()["png"])
    (tmp_path / "secret.png").chmod(0)
    assert "Permission denied" in reason(tmp_path / "secret.png")


def test_a_file_that_the_system_refuses_to_open_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.png").write_bytes(corpus()["png"])

    def deny(self: Path, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", deny)
    assert reason(tmp_path / "secret.png") == "it cannot be read: Permission denied"


def test_limits_of_bytes_pixels_and_aspect(tmp_path: Path) -> None:
    data = corpus()["png"]
    (tmp_path / "a.png").write_bytes(data)
    exact = Limits(bytes=len(data), pixels=48 * 64)
    for source in (tmp_path / "a.png", data):
        images.decode(source, limits=exact)
        assert "bytes, the limit" in reason(source, Limits(bytes=len(data) - 1))
        assert "64 x 48 pixels" in reason(source, Limits(pixels=48 * 64 - 1))
    assert "64 x 48 pixels" in reason(blocks(), Limits(pixels=100))
    assert "a strip of 201 x 1" in reason(np.zeros((1, 201), np.uint8))
    images.decode(np.zeros((1, 200), np.uint8))
    assert "no pixels" in reason(np.zeros((0, 5), np.uint8))


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_decompression_bomb_is_refused_in_no_memory(side: int) -> None:
    """12000 x 12000 is where Pillow only warns, 60000 x 60000 where it raises."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = corpus()["png"][:8] + struct.pack(">I", 13) + b"IHDR" + header + crc + corpus()["png"][33:]
    assert any(word in reason(bomb, Limits(pixels=10**8)) for word in ("over the limit", "too large"))


def test_wrong_arrays_and_wrong_types_are_refused() -> None:
    wrong: list[object] = [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.float32),
        np.zeros(4, np.uint8),
        None,
        3,
        [],
    ]
    for source in wrong:
        assert reason(source)  # type: ignore[arg-type]


def test_heic_and_postscript_are_refused_by_name() -> None:
    assert "convert it" in reason(b"\0\0\0\x18ftypheic" + b"\0" * 32)
    assert "no image" in reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # would run Ghostscript


def test_a_hostile_file_name_stays_on_one_line_and_out_of_the_terminal(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/a\x1b[31m\nb\xff.png")
    with pytest.raises(UnreadableImage) as caught:
        images.decode(path)
    assert str(caught.value).isprintable()
    str(caught.value).encode()


@pytest.mark.parametrize("key", corpus())
def test_truncation_anywhere_is_refused_or_costs_no_pixel(key: str) -> None:
    data = corpus()[key]
    whole = pixels(data)
    refused = 0
    for end in range(0, len(data), max(1, len(data) // 40)):
        try:
            kept = np.asarray(images.decode(data[:end], limits=SMALL))
        except UnreadableImage:
            refused += 1
        else:
            assert (kept == whole).all()  # only what follows the pixels was cut off
    assert refused >= 35


# ---------------------------------------------------------------- Pillow's warnings and state


def large_png() -> bytes:
    """12000 x 8000 of one colour: over Pillow's threshold of a warning, under its limit. One bit a pixel."""
    return encoded(Image.new("1", (12_000, 8_000)), "PNG")


def test_no_warning_of_pillow_escapes_and_no_filter_of_the_caller_changes() -> None:
    data = large_png()
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    translucent = encoded(Image.fromarray(blocks()).quantize(), "PNG", transparency=bytes(range(256)))
    with pytest.warns(UserWarning, match="Transparency"):
        Image.open(io.BytesIO(translucent)).convert("RGB")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert "over the limit" in reason(data)
        threads = [threading.Thread(target=images.decode, args=(translucent,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == []
        Image.open(io.BytesIO(data))  # the caller's own use of Pillow still warns
        assert [warning.category for warning in seen] == [Image.DecompressionBombWarning]
    before = len(warnings.filters)
    for _ in range(5):
        warnings.filterwarnings("error", message="never said")
        images.decode(corpus()["png"])
    assert len(warnings.filters) <= before + 2  # our own filter is not piled up


def test_pillows_globals_stay_as_they_are() -> None:
    def state() -> tuple[object, ...]:
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, Image.WARN_POSSIBLE_FORMATS

    before = state()
    for data in corpus().values():
        images.decode(data, at_least=4)
    assert state() == before


# ---------------------------------------------------------------- find


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.png",
        "a.JPG",
        "notes.txt",
        ".hidden.png",
        "sub/z.webp",
        "sub/deep/c.tiff",
        ".git/x.png",
        "m/phone.heic",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_folders_expand_in_order_and_only_to_images(tree: Path) -> None:
    (tree / "sub" / "up").symlink_to(tree)  # round and round
    found = images.find([tree])
    expected = ["a.JPG", "b.png", "m/phone.heic", "sub/z.webp", "sub/deep/c.tiff"]
    assert [path.relative_to(tree).as_posix() for path in found.paths] == expected
    assert found.skipped == ()


def test_a_named_file_is_taken_whatever_its_suffix_and_once(tree: Path) -> None:
    found = images.find([tree / "notes.txt", str(tree / "b.png"), tree / "sub", tree / "sub" / ".." / "b.png"])
    assert [path.name for path in found.paths] == ["notes.txt", "b.png", "z.webp", "c.tiff"]


def test_missing_paths_and_empty_folders_are_listed(tree: Path) -> None:
    (tree / "empty").mkdir()
    (tree / "link").symlink_to(tree / "nowhere")
    named = [tree / "missing.png", tree / "empty", tree / "link", tree / "b.png", "nul\0l"]
    found = images.find(named)
    assert found.paths == (tree / "b.png",)
    assert [item.reason for item in found.skipped][:3] == [
        "there is no such file or folder",
        "the folder holds no image files",
        "it is a link to a file that does not exist",
    ]
    assert [item.path for item in found.skipped][:3] == [str(path) for path in named[:3]]
    assert len(found.skipped) == 4


def test_a_folder_that_cannot_be_listed_is_said_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: str) -> Iterator[os.DirEntry[str]]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", deny)
    assert images.find([tree]).skipped == (Skipped(str(tree), "it cannot be read: Permission denied"),)


# ---------------------------------------------------------------- stream


def mutations(count: int) -> list[tuple[bytes, str]]:
    """`count` damaged files over all formats, by truncation, bit flips, header damage and foreign suffixes."""
    rng = random.Random(0)
    originals = [(key, data) for key, data in corpus().items()]
    made = []
    for number in range(count):
        key, data = originals[number % len(originals)]
        suffix = "." + key.split("-")[0]
        damaged = bytearray(data)
        match number // len(originals) % 6:
            case 0:
                del damaged[rng.randrange(len(damaged)) :]
            case 1:
                for _ in range(rng.choice((1, 3, 20))):
                    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            case 2:
                damaged[rng.randrange(32)] = rng.randrange(256)
            case 3:
                suffix = rng.choice((".jpg", ".png", ".gif", ".txt", ""))
            case 4:
                start = rng.randrange(len(damaged))
                damaged[start : start + 16] = rng.randbytes(16)
            case _:
                start = rng.randrange(len(damaged))
                del damaged[start : start + rng.randrange(1, 64)]
        made.append((bytes(damaged), suffix))
    return made


def test_three_hundred_damaged_files_crash_nothing_and_shift_no_row(tmp_path: Path) -> None:
    """Every third file is sound and carries its own number as its colour, which its row must show."""
    paths = []
    for number, (data, suffix) in enumerate(mutations(300)):
        paths.append(tmp_path / f"{number}{suffix}")
        paths[-1].write_bytes(data)
        if number % 2:
            paths.append(tmp_path / f"sound{len(paths)}.png")
            Image.new("RGB", (9, 9), (len(paths) % 256, len(paths) // 256, 77)).save(paths[-1])
    batches = list(images.stream(paths, tensor, batch_size=7, limits=SMALL, threads=4))
    rows = [row for batch in batches for row in batch.rows]
    skipped = [item for batch in batches for item in batch.skipped]
    assert len(rows) + len(skipped) == len(paths) == 450
    assert rows == sorted(set(rows))
    assert [item.path for item in skipped] == [str(path) for row, path in enumerate(paths) if row not in set(rows)]
    assert all(item.reason and item.reason.isprintable() for item in skipped)
    assert len(skipped) > 100
    assert [len(batch.rows) for batch in batches[:-1]] == [7] * (len(batches) - 1)
    seen = {row: batch.pixels[i] for batch in batches for i, row in enumerate(batch.rows)}
    for row, path in enumerate(paths):
        if path.name.startswith("sound"):
            number = int(path.stem.removeprefix("sound")) + 1
            assert seen[row][:, 0, 0].tolist() == [number % 256, number // 256, 77]
        elif row in seen:
            assert (seen[row] == tensor(images.decode(path, limits=SMALL))).all()


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_rows_point_at_their_sources(sound: list[bool], batch_size: int, threads: int) -> None:
    sources: list[images.Source] = [
        np.full((2, 2), row, np.uint8) if good else b"bad" for row, good in enumerate(sound)
    ]
    batches = list(images.stream(sources, tensor, batch_size=batch_size, threads=threads))
    rows = [row for batch in batches for row in batch.rows]
    assert rows == [row for row, good in enumerate(sound) if good]
    assert [int(pixel) for batch in batches if batch.rows for pixel in batch.pixels[:, 0, 0, 0]] == rows
    assert [item.path for batch in batches for item in batch.skipped] == [
        f"image {row}" for row, good in enumerate(sound) if not good
    ]
    assert all(1 <= len(batch.rows) <= batch_size for batch in batches) or not rows
    assert all(batch.pixels.shape == (len(batch.rows), 3, 4, 4) for batch in batches if rows)


def test_when_every_image_is_bad_one_batch_without_rows_lists_them() -> None:
    (batch,) = images.stream([b"", b"x", b"y"], tensor, batch_size=2)
    assert batch.rows == ()
    assert batch.pixels.shape == (0,)
    assert [item.path for item in batch.skipped] == ["image 0", "image 1", "image 2"]
    assert list(images.stream([], tensor, batch_size=2)) == []


def test_a_change_of_shape_ends_the_batch() -> None:
    def as_it_is(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image))

    sources = [np.zeros((side, side), np.uint8) for side in (4, 4, 5, 4)]
    batches = list(images.stream(sources, as_it_is, batch_size=3))
    assert [batch.rows for batch in batches] == [(0, 1), (2,), (3,)]


def test_a_transform_may_refuse_an_image_but_its_bugs_are_raised() -> None:
    def picky(image: Image.Image) -> torch.Tensor:
        if image.getpixel((0, 0)) == (1, 1, 1):
            raise InputError("not this one")
        return tensor(image)

    def broken(image: Image.Image) -> torch.Tensor:
        raise ZeroDivisionError

    sources = [np.full((2, 2), level, np.uint8) for level in (0, 1, 2)]
    (batch,) = images.stream(sources, picky, batch_size=5)
    assert (batch.rows, batch.skipped) == ((0, 2), (Skipped("image 1", "not this one"),))
    with pytest.raises(ZeroDivisionError):
        list(images.stream(sources, broken, batch_size=5))
    with pytest.raises(ValueError, match="batch_size"):
        list(images.stream(sources, tensor, batch_size=0))


def test_memory_stays_flat_and_closing_stops_the_threads() -> None:
    """An endless list: only a bounded number is read ahead, and nothing runs on after the consumer leaves."""
    drawn = 0

    def endless() -> Iterator[images.Source]:
        nonlocal drawn
        while True:
            drawn += 1
            yield np.zeros((2, 2), np.uint8)

    batches = images.stream(endless(), tensor, batch_size=8, threads=3)
    for turn in range(1, 20):
        next(batches)
        assert drawn <= 8 * (turn + 1) + 3 + 1
    batches.close()
    after = drawn
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("deepscope-images")]
    assert drawn == after


def test_results_do_not_pile_up() -> None:
    made: list[weakref.ref[torch.Tensor]] = []

    def watched(image: Image.Image) -> torch.Tensor:
        result = tensor(image)
        made.append(weakref.ref(result))
        return result

    sources = (np.zeros((2, 2), np.uint8) for _ in range(400))
    for _ in images.stream(sources, watched, batch_size=10, threads=2):
        assert sum(reference() is not None for reference in made) <= 10 + 2 + 2
    assert len(made) == 400


@pytest.mark.real
def test_real_photographs(home: Path) -> None:
    """Pillow's own path (open, exif_transpose, convert) as the oracle, on photographs of the wild."""
    found = images.find([home / "data" / "imagenet-sample"])
    assert len(found.paths) == 100
    for path in found.paths[:20]:
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        assert (pixels(path) == expected).all()
    batches = list(images.stream(found.paths, tensor, batch_size=32))
    assert [row for batch in batches for row in batch.rows] == list(range(100))
