"""Image files that tests of several packages make, and what they do with them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, features

from deepscope import images
from deepscope.images import Limits, UnreadableImage

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


def reading(
    transform: Callable[[Image.Image], torch.Tensor], limits: Limits = SMALL
) -> Callable[[images.Source], torch.Tensor]:
    """What `stream` calls: decodes a source, then transforms the image."""
    return lambda source: transform(images.decode(source, limits=limits))


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
