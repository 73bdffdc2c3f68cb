"""Images of other channels than RGB: they are read as numbers in [0, 1] of the right shape, or refused."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from deepscope.images import read_stack
from fuzz.mutations import EXTREME
from fuzz.target import Mutation, Target, damage

_CHANNELS = 5
_LEVELS = np.random.default_rng(0).integers(0, 65536, (20, 16, _CHANNELS), dtype=np.uint16)


def _numpy(folder: Path) -> None:
    for number, array in enumerate((_LEVELS, (_LEVELS >> 8).astype(np.uint8), (_LEVELS / 65535).astype(np.float32))):
        np.save(folder / f"{number}.npy", array)
    np.save(folder / "3.npy", np.asfortranarray(_LEVELS))


def _tiff(folder: Path) -> None:
    apart = np.moveaxis(_LEVELS, -1, 0)
    for number, (array, options) in enumerate(
        (
            (_LEVELS, {"planarconfig": "contig"}),
            (_LEVELS, {"planarconfig": "contig", "compression": "zlib", "rowsperstrip": 7}),
            (_LEVELS, {"planarconfig": "contig", "tile": (16, 16), "byteorder": ">"}),
            (apart, {"planarconfig": "separate", "compression": "zlib"}),
            (apart, {}),
        )
    ):
        written: Any = options
        tifffile.imwrite(folder / f"{number}.tif", array, photometric="minisblack", **written)


def _read(folder: Path) -> list[NDArray[np.float32]]:
    return [read_stack(path, _CHANNELS) for path in sorted(folder.iterdir())]


def _sane(answer: list[NDArray[np.float32]]) -> str:
    for found in answer:
        if found.dtype != np.float32 or found.ndim != 3 or found.shape[2] != _CHANNELS:
            return f"{found.dtype} of shape {found.shape}"
        if not (found.min() >= 0 and found.max() <= 1):
            return f"numbers from {found.min()} to {found.max()}"
    return ""


def _a_tag(rng: Random, folder: Path) -> None:
    """An entry of a TIFF's directory says something else: a side, a compression, an offset, a count, a type."""
    path = rng.choice(sorted(folder.glob("*.tif")))
    content = bytearray(path.read_bytes())
    order = "big" if content[:2] == b"MM" else "little"
    with tifffile.TiffFile(path) as file:
        tag = rng.choice(list(rng.choice(list(file.pages)).tags))
    start, size = rng.choice(((tag.offset + 2, 2), (tag.offset + 4, 4), (tag.offset + 8, 4), (tag.valueoffset, 2)))
    size = min(size, len(content) - start)
    content[start : start + size] = (rng.choice(EXTREME) & (256**size - 1)).to_bytes(size, order)
    path.write_bytes(bytes(content))


def _a_header(rng: Random, folder: Path) -> None:
    """The header of a NumPy file says something else, as long as before."""
    path = rng.choice(sorted(folder.glob("*.npy")))
    content = path.read_bytes()
    text = content[10:128].decode("latin-1")
    old, new = rng.choice(
        (
            ("(20, 16, 5)", rng.choice(("(99, 99, 5)", "(0, 16, 5)", "(20, 80)", "(1600, 5)", "20", "(-1, 1, 5)"))),
            ("'descr'", rng.choice(("'shape'", "'x'", "[[[["))),
            ("False", rng.choice(("True", "None", "9**9**9"))),
            ("'<u2'", rng.choice(("'|O'", "'<U9'", "'<f2'", "'<u4'", "'V4'", "[('a','<u2')]"))),
        )
    )
    changed = text.replace(old, new)[:118].ljust(118)
    path.write_bytes(content[:10] + changed.encode("latin-1") + content[128:])


_DAMAGED_NPY = damage("*.npy", same=False), Mutation("a header", _a_header, same=False)
_DAMAGED_TIFF = damage("*.tif", same=False), Mutation("a tag", _a_tag, same=False)

TARGETS = [
    Target("stack-numpy", _numpy, _read, _DAMAGED_NPY, _sane),
    Target("stack-tiff", _tiff, _read, _DAMAGED_TIFF, _sane),
]
