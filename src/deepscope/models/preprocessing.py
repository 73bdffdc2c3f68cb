"""From an image to the pixels a network was trained on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from deepscope import images
from deepscope.errors import InputError

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its input.

    Attributes:
        resize: the shorter side after resizing (aspect kept), or exact (height, width).
        crop: side of the central square cut out, or (height, width); None keeps everything.
        interpolation: filter of the resize, always with antialiasing.
        mean, std: per channel, of pixels in [0, 1]; applied inside the graph by `VisionModel`.
    """

    resize: int | tuple[int, int] = 256
    crop: int | tuple[int, int] | None = 224
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __call__(self, source: images.Source) -> torch.Tensor:
        """Any image -> (3, H, W) float32 pixels in [0, 1], not yet normalised.

        The one way to read an image for a model: how far a large JPEG shrinks while it is decoded is part of it. An
        image that is given decoded (PIL, array) is taken at its own size.

        Raises:
            UnreadableImage: it cannot be read.
        """
        image = images.decode(source, at_least=self.decode_at_least)
        image = image.resize(self._resized(image.size), getattr(Image.Resampling, self.interpolation.upper()))
        if self.crop is not None:
            image = _centre(image, *_pair(self.crop))
        array = np.asarray(image, dtype=np.uint8)
        return torch.from_numpy(array.copy()).permute(2, 0, 1).contiguous().float().div_(255)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pixels; where nothing is cropped, of a square image's pixels."""
        return _pair(self.resize if self.crop is None else self.crop)

    @property
    def decode_at_least(self) -> int:
        """The shorter side a JPEG may shrink to while it is decoded: twice what the resize makes of it.

        libjpeg's own halving costs next to nothing; from twice the size down, the filter above decides what is seen.
        """
        return 2 * min(_pair(self.resize))

    def to_json(self) -> str:
        """The description as JSON; `from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Raises InputError where the text is not such a description."""
        try:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()
            }
            made = cls(**fields)
            made._check()
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not a description of preprocessing ({error}): {text[:200]}") from None
        return made

    def _check(self) -> None:
        if not hasattr(Image.Resampling, str(self.interpolation).upper()):
            raise ValueError(f"interpolation {self.interpolation!r}")
        if len(self.mean) != len(self.std) or not all(s > 0 for s in self.std):
            raise ValueError("mean and std need the same number of channels, std above 0")
        for side in (*_pair(self.resize), *(_pair(self.crop) if self.crop is not None else ())):
            if not 1 <= int(side) <= 8192:
                raise ValueError(f"a side of {side} pixels")

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after resizing; truncated as torchvision does, so that pixels agree."""
        width, height = size
        if not isinstance(self.resize, int):
            return self.resize[1], self.resize[0]
        short, long = sorted(size)
        other = int(self.resize * long / short)
        return (self.resize, other) if width <= height else (other, self.resize)


def _pair(side: int | tuple[int, int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else side


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """The central part; where the image is smaller than that, its border is black."""
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))
