"""Bounding boxes of objects, read from a table and mapped to a model's input."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from deepscope import images
from deepscope.errors import FileError
from deepscope.inputs import Photos


@dataclass(frozen=True)
class Boxes:
    """Boxes of objects, in pixels of the image files.

    Attributes:
        path: the table they come from.
        corners: file name -> the left, top, right and bottom of each of its boxes.
    """

    path: Path
    corners: dict[str, list[tuple[float, ...]]]

    @classmethod
    def read(cls, path: str | Path) -> Boxes:
        """Boxes from a CSV file with the header file,left,top,right,bottom and one line per box.

        Raises:
            FileError: the file cannot be read, or is not such a table.
        """
        path = Path(path)
        corners: dict[str, list[tuple[float, ...]]] = {}
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    sides = tuple(float(row[side]) for side in ("left", "top", "right", "bottom"))
                    if not np.isfinite(sides).all():
                        raise ValueError(f"{row['file']}: a corner is not finite")
                    corners.setdefault(row["file"], []).append(sides)
        except (OSError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
            raise FileError(
                f"{path} gives no boxes ({error!r}): it needs the header file,left,top,right,bottom and numbers",
                path=path,
            ) from None
        return cls(path, corners)

    def require(self, paths: Iterable[Path]) -> None:
        """Raises FileError where none of the images has a box."""
        if not any(path.name in self.corners for path in paths):
            raise FileError(
                f"{self.path} has no box of any of the images: its column file holds their names, without folders",
                path=self.path,
            )

    def inside(self, photos: Photos) -> Tensor:
        """(N, H, W) in [0, 1]: how much of each pixel lies in one of the image's boxes; NaN for images without a box.

        The files are opened once more, for the size in which the boxes are given.

        Raises:
            UnreadableImage: a file no longer exists.
        """
        inside = torch.full((len(photos), *photos.pixels.shape[-2:]), float("nan"))
        for index, photo in enumerate(photos.paths):
            if photo.name in self.corners:
                drawn = Image.new("RGB", images.decode(photo).size)
                for left, top, right, bottom in self.corners[photo.name]:
                    ImageDraw.Draw(drawn).rectangle(
                        (left, top, max(left, right - 1), max(top, bottom - 1)), fill="white"
                    )
                inside[index] = photos.model.preprocessing(drawn).mean(0)
        return inside
