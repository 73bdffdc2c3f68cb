"""Images of every format that is read: they decode to a bounded picture, the same each time, or are refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, features

from deepscope import images
from fuzz.mutations import EXTREME
from fuzz.target import Mutation, Target, damage
from painted import paint

_SMALL = 4_000_000
_MEMORY = 1024
"""MiB: what one decoding thread may add."""


def _picture(size: tuple[int, int] = (48, 40)) -> Image.Image:
    return paint("stripes", np.random.default_rng(0)).resize(size)


def _saved(name: str, *variants: tuple[str, Mapping[str, Any]]) -> Callable[[Path], None]:
    """Writes one file for each (mode, options)."""

    def build(folder: Path) -> None:
        for number, (mode, options) in enumerate(variants):
            made = Image.fromarray(_levels(mode)) if mode in ("I;16", "F") else _picture().convert(mode)
            if mode == "LA":
                made.putalpha(120)
            made.save(folder / f"{number}.img", format=name, **options)

    return build


def _levels(mode: str) -> np.ndarray[Any, Any]:
    grey = np.asarray(_picture().convert("L"))
    return grey.astype(np.uint16) * 257 if mode == "I;16" else grey.astype(np.float32) / 255


def _frames() -> dict[str, Any]:
    return {"save_all": True, "append_images": [_picture().rotate(90), _picture().rotate(180)]}


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "words " * 20
    return exif.tobytes()


def _sane(answer: list[tuple[Image.Image, Image.Image]]) -> str:
    for whole, shrunk in answer:
        for image in (whole, shrunk):
            if image.mode != "RGB" or image.width * image.height > images.Limits().pixels:
                return f"decodes to {image.mode} {image.size}"
        if min(shrunk.size) < min(16, *whole.size):
            return f"shrunk from {whole.size} to {shrunk.size}"
    return ""


def _read(folder: Path) -> list[tuple[Image.Image, Image.Image]]:
    """Each image, whole and shrunk. Small ones are decoded again, to the same pixels: no memory of others is shown."""
    answer = []
    for path in sorted(folder.glob("*.img")):
        whole = images.decode(path)
        if whole.width * whole.height < _SMALL:
            assert whole.tobytes() == images.decode(path).tobytes(), "decodes differently each time"
        answer.append((whole, images.decode(path, at_least=16)))
    return answer


def _png_chunk(rng: Random, folder: Path) -> None:
    """A chunk of a PNG says something else, under a right checksum."""
    path = rng.choice(sorted(folder.glob("*.img")))
    content = path.read_bytes()
    chunks, at = [], 8
    while at < len(content):
        size = struct.unpack_from(">I", content, at)[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    number = rng.randrange(len(chunks))
    kind, data = chunks[number]
    action = rng.random()
    if action < 0.1:
        del chunks[number]
    elif action < 0.2:
        chunks.insert(rng.randrange(len(chunks)), (kind, data))
    elif action < 0.3:
        chunks.insert(number, rng.choice(_bombs()))
    else:
        changed = bytearray(data or bytes(4))
        width = min(rng.choice((1, 2, 4)), len(changed))
        start = rng.randrange(len(changed) - width + 1)
        changed[start : start + width] = (rng.choice(EXTREME) & (256**width - 1)).to_bytes(width, "big")
        chunks[number] = (kind, bytes(changed))
    path.write_bytes(content[:8] + b"".join(_chunk(*chunk) for chunk in chunks))


def _bombs() -> tuple[tuple[bytes, bytes], ...]:
    """Chunks that unpack to 64 MiB."""
    packed = _zeros(1 << 26)
    return (b"zTXt", b"key\0\0" + packed), (b"iCCP", b"name\0\0" + packed), (b"iTXt", b"key\0\1\0\0\0" + packed)


def _zeros(size: int) -> bytes:
    """So many zeros, deflated, without the time that takes: one part of a MiB, flushed, stands for all."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    part = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    whole, rest = divmod(size, 1 << 20)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = last.compress(bytes(rest)) + last.flush()
    return (first + part * (whole - 1) if whole else b"\x78\xda") + end + struct.pack(">I", size % 65521 << 16 | 1)


def _huge_png(rng: Random, folder: Path) -> None:
    """Millions of black pixels in some hundred kilobytes."""
    path, side = rng.choice(sorted(folder.glob("*.img"))), rng.choice((3000, 3000, 8000, 13000))
    kind, depth, channels = rng.choice(((6, 8, 4), (4, 8, 2), (0, 16, 1), (0, 1, 1), (2, 8, 3), (2, 16, 3)))
    header = struct.pack(">IIBBBBB", side, side, depth, kind, 0, 0, rng.choice((0, 0, 1)))
    body = _zeros(side * (1 + -(-side * channels * depth // 8)))
    parts = [_chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _huge_tiff(rng: Random, folder: Path) -> None:
    """The same in one deflated strip: 8, 16 or 32 bits, whole or floating-point."""
    path, side = rng.choice(sorted(folder.glob("*.img"))), rng.choice((3000, 3000, 8000, 13000))
    bits, kind = rng.choice(((32, 3), (16, 1), (32, 1), (8, 1)))
    body = _zeros(side * side * bits // 8)
    fields = {256: side, 257: side, 258: bits, 259: 8, 262: 1, 273: 8, 277: 1, 278: side, 279: len(body), 339: kind}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(fields)) + table + bytes(4)
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _jpeg_scans(rng: Random, folder: Path) -> None:
    """A progressive JPEG with a scan repeated many times: little to store, long to decode."""
    path, side = rng.choice(sorted(folder.glob("*.img"))), rng.choice((40, 40, 1500))
    memory = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(memory, "JPEG", progressive=True)
    content = memory.getvalue()
    starts = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xda"]
    begin, end = starts[-1], len(content) - 2
    scan = content[begin:end]
    path.write_bytes(content[:end] + scan * rng.choice((1, 50, 1000)) + content[end:])


def _alone(mutation: Mutation) -> Mutation:
    """The mutation, and then only the file that it changed is left."""

    def apply(rng: Random, folder: Path) -> None:
        before = {path: path.read_bytes() for path in folder.glob("*.img")}
        mutation.apply(rng, folder)
        for path, content in before.items():
            if path.is_file() and path.read_bytes() == content and len(list(folder.iterdir())) > 1:
                path.unlink()

    return replace(mutation, apply=apply)


def _target(name: str, build: Callable[[Path], None], *more: Mutation, inputs: int = 150) -> Target:
    mutations = tuple(_alone(mutation) for mutation in (damage("*.img", same=False), *more))
    return Target(f"image-{name}", build, _read, mutations, _sane, memory=_MEMORY, inputs=inputs)


def _one_mpo(folder: Path) -> None:
    _picture().save(folder / "0.img", format="MPO", **_frames())


def _some_pnms(folder: Path) -> None:
    for number, mode in enumerate(("RGB", "L", "1")):
        _picture().convert(mode).save(folder / f"{number}.img", format="PPM")
    text = "P2 4 4 255 " + " ".join(str(16 * level) for level in range(16))
    (folder / "3.img").write_text(text)
    (folder / "4.img").write_bytes(b"P6 4 4 65535\n" + bytes(range(96)))


_JPEG = _saved(
    "JPEG", ("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"exif": _exif(6)})
)
_PNG = _saved(
    "PNG", ("RGB", {}), ("RGBA", {}), ("P", {"transparency": 3}), ("1", {}), ("I;16", {}), ("LA", {"exif": _exif(3)})
)
_GIF = _saved("GIF", ("P", {"transparency": 1}), ("RGB", _frames()))
_WEBP = _saved("WEBP", ("RGB", {}), ("RGBA", {"lossless": True}), ("RGB", {**_frames(), "exif": _exif(8)}))
_TIFF = _saved(
    "TIFF",
    *(("RGB", {"compression": packing}) for packing in ("raw", "tiff_deflate", "tiff_lzw", "jpeg", "packbits")),
    ("1", {"compression": "group4"}),
    ("I;16", {}),
    ("F", {"compression": "tiff_adobe_deflate"}),
    ("P", {}),
)
_BMP = _saved("BMP", ("RGB", {}), ("P", {}), ("L", {}), ("1", {}))
_JPEG2000 = _saved("JPEG2000", ("RGB", {}), ("L", {"no_jp2": True}), ("RGB", {"tile_size": (32, 32)}))
_AVIF = _saved("AVIF", ("RGB", {}), ("RGBA", {"quality": 30}))

TARGETS = [
    _target("jpeg", _JPEG, Mutation("scans repeated", _jpeg_scans, same=False, weight=0.02)),
    _target("mpo", _one_mpo, inputs=60),
    _target(
        "png",
        _PNG,
        Mutation("a chunk that lies", _png_chunk, same=False),
        Mutation("many pixels", _huge_png, same=False, weight=0.02),
        inputs=300,
    ),
    _target("gif", _GIF),
    _target("webp", _WEBP),
    _target("tiff", _TIFF, Mutation("many pixels", _huge_tiff, same=False, weight=0.02), inputs=300),
    _target("bmp", _BMP),
    _target("ppm", _some_pnms, inputs=100),
    _target("jpeg2000", _JPEG2000),
    *([_target("avif", _AVIF, inputs=60)] if features.check("avif") else []),
]
