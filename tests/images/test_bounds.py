"""What a file may cost: memory, scans, tags; and that a shortage is never taken for a bad image."""

from __future__ import annotations

import errno
import io
import os
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope import images
from deepscope.errors import DeepscopeError, out_of_memory
from deepscope.images import Exhausted, Limits, bounds, decoding
from image_files import blocks, corpus, encoded, pixels, reason, tensor


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """A sound PNG with chunks before its pixels."""
    data = corpus()["png"]
    return data[:33] + b"".join(chunk(*one) for one in chunks) + data[33:]


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(Image.fromarray(blocks()), "JPEG", quality=95, subsampling=0, progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + b"\xff\xd9"


def test_scans_are_counted_and_bounded() -> None:
    assert bounds._scans(corpus()["jpeg"]) == 1
    ordinary = bounds._scans(corpus()["jpeg-progressive"])
    assert ordinary == corpus()["jpeg-progressive"].count(b"\xff\xda") == 10
    assert bounds._scans(with_scans(60)) == ordinary + 59
    images.decode(with_scans(60))
    assert "scans" in reason(with_scans(bounds.SCANS))


def test_what_only_looks_like_scans_is_not_counted() -> None:
    """A thumbnail, a profile, and a film after the picture's end, as telephones write them."""
    marker = b"\xff\xda" * 60
    exif = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(marker)) + b"Exif\0\0" + marker
    for key in ("jpeg", "jpeg-progressive"):
        data = corpus()[key]
        longer = data[:2] + exif + data[2:] + marker * 3
        assert longer.count(b"\xff\xda") > bounds.SCANS
        assert (pixels(longer) == pixels(data)).all()


def test_a_jpeg_that_never_ends_is_walked_in_one_pass() -> None:
    data = corpus()["jpeg"][:-2] + b"\xff\xda\x00\x02" * 500_000
    began = time.process_time()
    assert "scans" in reason(data)
    assert time.process_time() - began < 5


def test_the_memory_of_a_decode_is_bounded_by_the_limit() -> None:
    """48 x 64 pixels: what is refused is counted from the header alone, for every format and mode."""
    for key, data in corpus().items():
        images.decode(data)
        assert "of memory, over the limit" in reason(data, Limits(memory=48 * 64 * 4)), key


@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        ("RGB", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("L", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGB", "WEBP", {}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "JPEG2000", {}),
        ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("F", "TIFF", {"compression": "tiff_adobe_deflate", "strip_size": 2**30}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("CMYK", "JPEG", {"progressive": True}),
    ],
)
def test_limits_of_memory_follow_what_is_stored_and_converted(mode: str, name: str, options: dict[str, object]) -> None:
    """The estimate is at least what Pillow stores and what the result takes, and at most 32 bytes per pixel."""
    side = 500
    data = encoded(Image.new(mode, (side, side)), name, **options)
    image = Image.open(io.BytesIO(data))
    needed = bounds.memory_needed(image, data, image.size, side * side) - len(data)
    assert 8 * side**2 <= needed <= 32 * side**2
    assert bounds.memory_needed(image, data, image.size, 1) <= needed + len(data)


def test_a_hundred_megapixels_are_read_for_a_network_and_at_full_size() -> None:
    size = (11_648, 8_736)
    assert bounds.check_size(size, Limits()) is None
    for mode, name, options in (("RGB", "JPEG", {}), ("RGB", "JPEG", {"progressive": True}), ("RGB", "PNG", {})):
        small = Image.open(io.BytesIO(encoded(Image.new(mode, (8, 8)), name, **options)))
        small._size = size
        for reduced in (1, 512 * 512):
            assert bounds.memory_needed(small, b"", size, size[0] * size[1] // reduced) < Limits().memory, (
                name,
                reduced,
            )


def test_huge_images_are_reduced_before_they_are_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only above `REDUCED` pixels, and to no less than asked."""
    data = encoded(Image.fromarray(blocks()).convert("RGBA"), "PNG")
    assert images.decode(data, at_least=16).size == (64, 48)
    monkeypatch.setattr(decoding, "REDUCED", 48 * 64 - 1)
    assert images.decode(data).size == (64, 48)
    assert images.decode(data, at_least=16).size == (22, 16)
    assert images.decode(data, at_least=25).size == (64, 48)
    eighth = pixels(data, at_least=6)
    assert (eighth == blocks()[::8, ::8]).all()  # squares of 8 x 8 of one colour


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_chunks_that_unpack_to_much_cost_no_memory(kind: bytes) -> None:
    packed = zlib.compress(bytes(200 * 2**20), 9)
    head = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
    data = with_chunks((kind, head + packed))
    tracemalloc.start()
    try:
        image = images.decode(data)
    except images.UnreadableImage:
        pass
    else:
        assert (np.asarray(image) == blocks()).all()
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < 20 * 2**20


@pytest.mark.parametrize("entries", [((273, 4, 2**31),), ((258, 3, 2**28),), ((320, 3, 10**7),)])
def test_a_tiff_whose_tags_lie_is_refused_before_they_are_read(entries: tuple[tuple[int, int, int], ...]) -> None:
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    body = b"".join(struct.pack("<HHII", tag, kind, count, 8) for tag, kind, count in entries)
    assert "claims" in reason(head + body + bytes(64))
    big = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(entries))
    body = b"".join(struct.pack("<HHQQ", tag, kind, count, 8) for tag, kind, count in entries)
    assert "claims" in reason(big + body + bytes(64))


def test_a_tiffs_one_huge_tile_is_counted() -> None:
    data = bytearray(encoded(Image.fromarray(blocks()), "TIFF", compression="tiff_lzw"))
    place = data.index(struct.pack("<HH", 278, 4) if struct.pack("<HH", 278, 4) in data else struct.pack("<HH", 278, 3))
    tile = struct.pack("<HHII", 322, 4, 1, 60_000)
    data[place : place + 12] = tile
    said = reason(bytes(data))
    assert said


@pytest.mark.parametrize("key", ["png", "tiff", "webp", "gif", "jp2", "jpeg", "bmp"])
def test_a_few_bytes_that_claim_a_large_image_are_refused(key: str) -> None:
    """The header of a large image, and nothing behind it."""
    name, options = {"jp2": ("JPEG2000", {}), "gif": ("GIF", {}), "jpeg": ("JPEG", {}), "bmp": ("BMP", {})}.get(
        key, (key.upper(), {})
    )
    data = encoded(Image.new("L" if key == "gif" else "RGB", (2000, 2000)), name, **options)
    assert reason(data[:120], Limits())


# ---------------------------------------------------------------- shortage


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO])
@pytest.mark.parametrize("call", ["open", "stat"])
def test_a_system_that_fails_stops_the_run(
    number: int, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.png").write_bytes(corpus()["png"])
    real = getattr(os, call)

    def fail(path: object, *arguments: object, **named: object) -> object:
        if str(path).endswith("good.png"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, call, fail)
    for use in (
        lambda: images.decode(tmp_path / "good.png"),
        lambda: images.digest(tmp_path / "good.png"),
        lambda: list(images.stream([tmp_path / "good.png"], lambda s: tensor(images.decode(s)), batch_size=1)),
    ):
        with pytest.raises(Exhausted, match=r"good\.png.*run again") as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("out of memory error when reading image file"),
        OSError("broken data stream when reading image file"),
    ],
)
def test_a_decoder_that_runs_out_of_memory_stops_the_run(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg and others call a shortage a broken image: what counts is whether there is memory."""

    data = corpus()["jpeg"]

    def fail(self: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    monkeypatch.setattr(decoding, "_available", lambda size: False)
    with pytest.raises(Exhausted, match="memory ran out"):
        images.decode(data)
    monkeypatch.setattr(decoding, "_available", lambda size: True)
    with pytest.raises(DeepscopeError) as caught:
        images.decode(data)
    assert isinstance(caught.value, Exhausted) == isinstance(error, MemoryError)


def test_available_memory_is_asked_of_the_system() -> None:
    assert decoding._available(1)
    assert not decoding._available(2**62)


def test_a_transform_that_runs_out_of_memory_stops_the_run() -> None:
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")):

        def fail(source: images.Source, error: Exception = error) -> torch.Tensor:
            raise error

        with pytest.raises(Exhausted, match="memory ran out while image 0"):
            list(images.stream([blocks()], fail, batch_size=1))


def test_what_counts_as_running_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)  # what PyTorch's CPU allocator says, on this machine and version
    assert out_of_memory(caught.value)
    for error in (MemoryError(), torch.OutOfMemoryError()):
        assert out_of_memory(error)
    for error in (
        RuntimeError("shape mismatch"),
        ValueError("out of memory"),
        OSError(),
        DeepscopeError("out of memory"),
    ):
        assert not out_of_memory(error)
