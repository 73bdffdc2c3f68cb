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
from deepscope.attributions.boxes import require_one_name
from deepscope.errors import FileError, SettingError
from deepscope.inputs import Photos
from deepscope.inputs.given import Item
from deepscope.models.preprocessing import from_levels

Given: TypeAlias = "str | Path | Mapping[str, ArrayLike]"
"""A folder of images, each with the name of the image that it is the mask of (`cat.png` of `cat.jpg`); or the (H, W)
mask of each image by its file's name. Images from memory are called "image-0", "image-1" and so on."""


@dataclass(frozen=True)
class Masks:
    """Where the object is in images: everything that is not black, or not 0.

    Attributes:
        of_name: an image's name, without suffix -> its mask, or the mask's file.
        path: the folder that they come from; None of masks from Python.
    """

    of_name: Mapping[str, Path | NDArray[np.bool_]]
    path: Path | None = None

    @classmethod
    def of(cls, given: Given) -> Masks:
        """The masks that a caller gave, in any form.

        Raises:
            FileError: the folder holds no images.
            SettingError: a mask is not (H, W) numbers.
        """
        if isinstance(given, (str, Path)):
            found = images.find([given]).paths if Path(given).is_dir() else ()
            if not found:
                raise FileError(f"{given} is not a folder of masks: it holds no images", path=given)
            of_file = {path.stem: path for path in found}
            for path in found:
                if of_file[path.stem] != path:
                    raise FileError(f"{path} and {of_file[path.stem]} are masks of one name: rename them", path=path)
            return cls(of_file, Path(given))
        of_name: dict[str, Path | NDArray[np.bool_]] = {}
        for name, mask in given.items():
            values = np.asarray(mask)
            if values.ndim != 2 or values.dtype.kind not in "buif" or not values.size:
                raise SettingError("masks", f"must give (H, W) numbers for {name}; its shape is {values.shape}")
            of_name[Path(name).stem] = values != 0
        return cls(of_name)

    def require(self, paths: Iterable[Path]) -> None:
        """Raises FileError, or SettingError of masks from Python, where none of the images has a mask."""
        names = [path.name for path in paths]
        require_one_name("masks", [Path(name).stem for name in names], self.of_name)
        if any(Path(name).stem in self.of_name for name in names):
            return
        few = ", ".join(names[:3])
        if self.path is None:
            raise SettingError("masks", f"must have the names of images, without folders; these are {few}, ...")
        raise FileError(
            f"{self.path} has no mask of any of the images: a mask has the name of its image; these are {few}, ...",
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
            if photo.stem not in self.of_name:
                continue
            source = items[row].source
            if isinstance(source, Tensor):  # which the model takes as it is
                drawn = self._drawn(photo, (source.shape[2], source.shape[1]))
                inside[index] = from_levels(torch.from_numpy(np.array(drawn))).mean(-1)
            else:
                drawn = self._drawn(photo, images.decode(source).size)
                inside[index] = photos.model.preprocessing(drawn).mean(0)
        return inside

    def _drawn(self, photo: Path, size: tuple[int, int]) -> Image.Image:
        """The object, white on black."""
        mask = self.of_name[photo.stem]
        object_ = np.asarray(images.decode(mask)).any(-1) if isinstance(mask, Path) else mask
        drawn = Image.fromarray(np.where(object_, np.uint8(255), np.uint8(0))).convert("RGB")
        if drawn.size != size:
            raise FileError(
                f"the mask of {photo.name} has {drawn.width} x {drawn.height} pixels, and the image {size[0]} x "
                f"{size[1]}: give masks of the images' sizes",
                path=mask if isinstance(mask, Path) else photo,
            )
        return drawn
