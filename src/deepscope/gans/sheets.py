"""Sheets of generated images along a training: PNG files, which a resumed training continues."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepscope.files import atomic

NO_SHEETS: tuple[NDArray[np.uint8], tuple[int, ...]] = np.empty((0, 0, 0, 3), np.uint8), ()
"""No images and no steps."""


@dataclass(frozen=True)
class Sheets:
    """The sheets in a folder; each file is named by the step it was made after."""

    folder: Path

    def clear(self) -> None:
        """Remove the sheets of an earlier training."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def add(self, step: int, images: Tensor, *, columns: int) -> None:
        """Write (N, C, H, W) uint8 images as one sheet."""
        with atomic(self.folder / f"{step:08}.png") as path:
            Image.fromarray(sheet(images, columns=columns)).save(path)

    def frames(self, *, most: int = 60) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """Up to `most` sheets (T, H, W, 3), evenly chosen with the first and the last, and their steps; T may be 0.

        Damaged ones, and those of another size than the last one, are left out.
        """
        paths = self._paths()
        if not paths:
            return NO_SHEETS
        chosen = [paths[row] for row in sorted(set(np.linspace(0, len(paths) - 1, most).round().astype(int)))]
        read = {int(path.stem): frame for path in chosen if (frame := _read(path)) is not None}
        frames = {step: frame for step, frame in read.items() if frame.shape == read[max(read)].shape}
        return (np.stack(list(frames.values())), tuple(frames)) if frames else NO_SHEETS

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("[0-9]*.png") if path.stem.isdecimal())


def _read(path: Path) -> NDArray[np.uint8] | None:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def sheet(images: Tensor, *, columns: int) -> NDArray[np.uint8]:
    """(N, C, H, W) uint8, 1 or 3 channels -> one (H', W', 3) picture, row by row; missing places are black."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    whole = np.zeros((rows * columns, height, width, 3), dtype=np.uint8)
    whole[:count] = images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    return whole.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
