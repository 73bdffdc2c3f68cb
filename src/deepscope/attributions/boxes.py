"""Bounding boxes of objects, from a table or from Python, mapped to a model's input."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from deepscope import images
from deepscope.errors import DataError, FileError, SettingError
from deepscope.inputs import Photos
from deepscope.inputs.given import Item
from deepscope.inputs.tables import name_in
from deepscope.models.preprocessing import from_levels

Given: TypeAlias = "str | Path | Mapping[str, Sequence[Sequence[float]]]"
"""A CSV file with the header file,left,top,right,bottom; or the boxes of each image by its file's name, or by the end
of its path (`bedroom/1.jpg`). Images from memory are called "image-0", "image-1" and so on."""


@dataclass(frozen=True)
class Boxes:
    """Boxes of objects, in pixels of the images.

    Attributes:
        corners: file name, or end of a path -> the left, top, right and bottom of each of its boxes.
        path: the table they come from; None of boxes from Python.
    """

    corners: Mapping[str, Sequence[tuple[float, ...]]]
    path: Path | None = None

    @classmethod
    def of(cls, given: Given) -> Boxes:
        """The boxes that a caller gave, in any form.

        Raises:
            FileError: the file cannot be read, or is no such table.
            SettingError: a box is not four finite numbers.
        """
        if isinstance(given, (str, Path)):
            return cls.read(given)
        corners: dict[str, list[tuple[float, ...]]] = {}
        for name, boxes in given.items():
            try:
                corners[name] = [tuple(map(float, box)) for box in boxes]
            except (TypeError, ValueError):
                raise SettingError("boxes", f"must give a list of boxes for {name}", got=boxes) from None
            for box in corners[name]:
                if len(box) != 4 or not np.isfinite(box).all():
                    problem = f"must be (left, top, right, bottom) in pixels, finite numbers, for {name}"
                    raise SettingError("boxes", problem, got=box)
        return cls(corners)

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
        return cls(corners, path)

    def require(self, paths: Iterable[Path]) -> None:
        """Raises FileError, or SettingError of boxes from Python, where none of the images has a box.

        DataError where boxes may be those of several images.
        """
        paths = list(paths)
        if named_once("boxes", {path: name_in(path, self.corners) for path in paths}):
            return
        few = ", ".join(path.name for path in paths[:3])
        if self.path is None:
            raise SettingError(
                "boxes", f"must have the names of images, or the ends of their paths; these are {few}, ..."
            )
        raise FileError(
            f"{self.path} has no box of any of the images: its column file holds their names, or the ends of their "
            f"paths; these are {few}, ...",
            path=self.path,
        )

    def inside(self, photos: Photos, items: Sequence[Item]) -> Tensor:
        """(N, H, W) in [0, 1]: how much of each pixel lies in one of the image's boxes; NaN for images without a box.

        Files are opened once more, for the size in which the boxes are given.

        Args:
            photos: as the model sees them.
            items: all images that were given, of which these are `photos.rows`.

        Raises:
            UnreadableImage: a file no longer exists.
        """
        inside = torch.full((len(photos), *photos.pixels.shape[-2:]), float("nan"))
        for index, (photo, row) in enumerate(zip(photos.paths, photos.rows, strict=True)):
            if (name := name_in(photo, self.corners)) is None:
                continue
            source = items[row].source
            if isinstance(source, Tensor):  # which the model takes as it is
                drawn = self._drawn(name, (source.shape[2], source.shape[1]))
                inside[index] = from_levels(torch.from_numpy(np.array(drawn))).mean(-1)
            else:
                drawn = self._drawn(name, images.decode(source).size)
                inside[index] = photos.model.preprocessing(drawn).mean(0)
        return inside

    def _drawn(self, name: str, size: tuple[int, int]) -> Image.Image:
        """The image's boxes, white on black."""
        drawn = Image.new("RGB", size)
        for left, top, right, bottom in self.corners[name]:
            corners = (left, top, max(left, right - 1), max(top, bottom - 1))
            ImageDraw.Draw(drawn).rectangle(corners, fill="white")
        return drawn


def named_once(what: str, names: Mapping[Path, str | None]) -> bool:
    """Whether some images have a name for boxes or masks. Raises DataError where several have the same one."""
    counts = Counter(name for name in names.values() if name is not None)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DataError(
            f"{what} of {twice[0]} may be those of {counts[twice[0]]} images of that name: call each by the end of its "
            "path, such as FOLDER/NAME"
        )
    return bool(counts)
