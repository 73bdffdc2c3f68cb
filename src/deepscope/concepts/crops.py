"""Crops of images, and what a layer makes of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepscope.models import VisionModel
from deepscope.models.batching import batches
from deepscope.models.feature_map import as_map
from deepscope.session import Session

_STRIDE = 0.75
"""Distance of neighbouring crops, at most, as a share of their side."""
_BATCH = 16


@dataclass(frozen=True)
class Crop:
    """A part of an image.

    Attributes:
        image: the image's row.
        box: left, top, right, bottom in pixels.
    """

    image: int
    box: tuple[int, int, int, int]

    def of(self, pixels: Tensor) -> Tensor:
        """The part of (..., H, W) pixels of the image."""
        left, top, right, bottom = self.box
        return pixels[..., top:bottom, left:right]


def crop_vectors(
    model: VisionModel, layer: str, pixels: Tensor, rows: Sequence[int], share: float, session: Session
) -> tuple[list[Crop], NDArray[np.float32]]:
    """All crops of some images, and the layer's channels for each: the mean over the positions of the enlarged crop.

    Args:
        model: a network.
        layer: a layer with a feature map.
        pixels: (N, C, H, W) of all images.
        rows: the images to crop.
        share: side of a crop, as a share of the image's.
        session: progress.

    Returns:
        crops, and (crops, channels) vectors.

    Raises:
        SettingError: the layer gives no feature map.
    """
    size = (pixels.shape[-2], pixels.shape[-1])
    crops = [Crop(row, box) for row in rows for box in boxes(size, share)]

    def run(part: slice) -> Tensor:
        given = [crop.of(pixels[crop.image]) for crop in crops[part]]
        enlarged = torch.stack([_enlarged(one, size) for one in given])
        enlarged = enlarged.to(model.device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            maps = as_map(model, layer, model.activations(enlarged, [layer])[layer], enlarged)
            return maps.mean((2, 3)).float().cpu()

    found = []
    with session.progress("crops", total=len(crops)) as advance:
        for part, vectors in batches(len(crops), run, size=_BATCH):
            found.append(vectors)
            advance(part.stop - part.start)
    return crops, torch.cat(found).numpy()


def boxes(size: tuple[int, int], share: float) -> list[tuple[int, int, int, int]]:
    """Evenly spaced boxes (left, top, right, bottom) that cover an image of (height, width)."""
    height, width = (max(1, round(side * share)) for side in size)
    tops, lefts = (_starts(whole, own) for whole, own in zip(size, (height, width)))
    return [(left, top, left + width, top + height) for top, left in product(tops, lefts)]


def _starts(whole: int, own: int) -> list[int]:
    steps = math.ceil((whole - own) / (own * _STRIDE))
    return sorted({round(step * (whole - own) / max(steps, 1)) for step in range(steps + 1)})


def _enlarged(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(pixels[None], size, mode="bilinear", align_corners=False)[0]
