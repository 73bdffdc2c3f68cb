"""Pictures of three classes, painted from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("dots", "plain", "stripes")


def paint(kind: str, rng: np.random.Generator) -> Image.Image:
    """A 24 x 30 picture of a class."""
    level = rng.integers(60, 200, 3)
    pixels = np.tile(level, (24, 30, 1)) + rng.integers(-20, 20, (24, 30, 3))
    if kind == "stripes":
        pixels[:, rng.integers(0, 3) :: 4] += 90
    if kind == "dots":
        pixels[rng.integers(0, 3) :: 6, rng.integers(0, 3) :: 6] -= 120
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def paint_folder(root: Path, *, train: int, test: int) -> Path:
    """`root/train|test/CLASS/N.png`."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for kind in CLASSES:
            folder = root / part / kind
            folder.mkdir(parents=True)
            for number in range(count):
                paint(kind, rng).save(folder / f"{number}.png")
    return root
