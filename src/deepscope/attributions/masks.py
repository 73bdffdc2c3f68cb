"""Masks of objects, from a folder of images or from Python, mapped to a model's input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from deepscope import images
from deepscope.attributions.boxes import named_once
from deepscope.errors import FileError, SettingError
from deepscope.inputs import Photos
from deepscope.inputs.given import Item
from deepscope.inputs.tables import name_in
from deepscope.models.preprocessing import from_levels

Given: TypeAlias = "str | Path | Mapping[str, ArrayLike]"
"""A folder of images, each with the name of the image that it is the mask of (`cat.png` of `cat.jpg`, and in a folder
`bedroom/1.png` of `bedroom/1.jpg`); or the (H, W) mask of each image by its file's name, or by the end of its path.
Images from memory are called "image-0", "image-1" and so on."""


@dataclass(frozen=True)
class Masks:
    """Where the object is in images: everything that is not black, or not 0.

    Attributes:
        of_name: an image's name or the end of its path, without suffix -> its mask, or the mask's file.
        path: the folder that they come from; None of masks from Python.
    """

    of_name: Mapping[str, Path | NDArray[np.bool_]]
    path: Path | None = None

    @classmethod
    def of(cls, given: Given) -> Masks:
        """The masks that a caller gave, in any form.

        Raises:
            FileError: the folder holds no images.
            FileError: two masks have one name.
            SettingError: a mask is not (H, W) numbers, or two have one name.
        """
        if isinstance(given, (str, Path)):
            found = images.find([given]).paths if Path(given).is_dir() else ()
            if not found:
                raise FileError(f"{given} is not a folder of masks: it holds no images", path=given)
            of_file: dict[str, Path] = {}
            for path in found:
                if (other := of_file.setdefault(_called(path.relative_to(given)), path)) != path:
                    raise FileError(f"{other} and {path} are masks of one image: rename or remove one", path=path)
            return cls(of_file, Path(given))
        of_name: dict[str, Path | NDArray[np.bool_]] = {}
        for name, mask in given.items():
            values = np.asarray(mask)
            if values.ndim != 2 or values.dtype.kind not in "buif" or not values.size:
                raise SettingError("masks", f"must give (H, W) numbers for {name}; its shape is {values.shape}")
            if _called(Path(name)) in of_name:
                raise SettingError("masks", f"must give one mask of {_called(Path(name))}")
            of_name[_called(Path(name))] = values != 0
        return cls(of_name)

    def require(self, paths: Iterable[Path]) -> None:
        """Raises FileError, or SettingError of masks from Python, where none of the images has a mask.

        DataError where a mask may be that of several images.
        """
        paths = list(paths)
        if named_once("masks", {path: name_in(_bare(path), self.of_name) for path in paths}):
            return
        few = ", ".join(path.name for path in paths[:3])
        if self.path is None:
            raise SettingError(
                "masks", f"must have the names of images, or the ends of their paths; these are {few}, ..."
            )
        raise FileError(
            f"{self.path} has no mask of any of the images: a mask has the name of its image, and the name of the "
            f"image's folder if it is in one; these are {few}, ...",
            path=self.path,
        )

    def inside(self, photos: Photos, items: Sequence[Item]) -> Tensor:
        """(N, H, W) in [0, 1]: how much of each pixel is the object; NaN for images without a mask.

        Args:
            photos: as the model sees them.
            items: all images that were given, of which these are `photos.rows`.

        Raises:
            FileError: a mask cannot be read, or has another size than its image.
        """
        inside = torch.full((len(photos), *photos.pixels.shape[-2:]), float("nan"))
        for index, (photo, row) in enumerate(zip(photos.paths, photos.rows, strict=True)):
            if (name := name_in(_bare(photo), self.of_name)) is None:
                continue
            source = items[row].source
            if isinstance(source, Tensor):  # which the model takes as it is
                drawn = self._drawn(name, photo, (source.shape[2], source.shape[1]))
                inside[index] = from_levels(torch.from_numpy(np.array(drawn))).mean(-1)
            else:
                drawn = self._drawn(name, photo, images.decode(source).size)
                inside[index] = photos.model.preprocessing(drawn).mean(0)
        return inside

    def _drawn(self, name: str, photo: Path, size: tuple[int, int]) -> Image.Image:
        """The object, white on black."""
        mask = self.of_name[name]
        object_ = np.asarray(images.decode(mask)).any(-1) if isinstance(mask, Path) else mask
        drawn = Image.fromarray(np.where(object_, np.uint8(255), np.uint8(0))).convert("RGB")
        if drawn.size != size:
            raise FileError(
                f"the mask of {photo.name} has {drawn.width} x {drawn.height} pixels, and the image {size[0]} x "
                f"{size[1]}: give masks of the images' sizes",
                path=mask if isinstance(mask, Path) else photo,
            )
        return drawn


def _bare(path: Path) -> Path:
    """A path without the suffix of its file."""
    return path.with_name(path.stem) if path.name else path


def _called(path: Path) -> str:
    """What a mask's path, below the folder of masks, calls its image."""
    return _bare(path).as_posix()
