"""Class folders of pictures that differ between classes in one planted way, or in none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cow")


def photo(rng: np.random.Generator) -> np.ndarray:
    """A smooth random picture; nothing in it depends on a class."""
    coarse = rng.integers(30, 226, (6, 8, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC), np.int64)
    return (pixels + rng.integers(-12, 13, pixels.shape)).clip(0, 255).astype(np.uint8)


def folder(root: Path, seed: int, change: str = "", each: int = 24) -> Path:
    """Three classes of the same kind of picture; those of "bee" are changed."""
    rng = np.random.default_rng(seed)
    mark = rng.integers(0, 256, (9, 12, 3), np.uint8)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(each):
            pixels, quality = photo(rng), 90
            if name == "bee":
                if change == "patch":
                    pixels[-9:, -12:] = mark
                if change == "dark":
                    pixels = (pixels * 0.7).astype(np.uint8)
                if change == "compressed":
                    quality = 60
                if change == "border":
                    pixels[:6] = pixels[-6:] = 0
            Image.fromarray(pixels).save(root / name / f"{number:02}.jpg", quality=quality)
    return root
