"""XRAI: regions of the image, ranked by the attributions inside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.integrated_gradients import IntegratedGradients
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count

SCALES = (50, 100, 150, 250, 500, 1200)
"""Of Felzenszwalb's segmentation: larger values give larger segments."""
SIDE = 224
"""Images are segmented at this size, where they are larger; the numbers below are meant for it."""
SMALLEST, LEAST_NEW, DILATION = 150, 50, 5
"""Pixels of a segment, and pixels that it must add to be chosen; pixels by which it grows beyond its edges."""
_TOGETHER = 64
"""Segments that are dilated together."""


@dataclass(frozen=True)
class XRAI(Attribution):
    """Segments of the image with the mean of integrated gradients inside them; the densest ones are chosen first.

    Segments of several sizes overlap. Each time the one is added whose new pixels have the highest mean. Integrated
    gradients are averaged over a black and a white baseline. Regions whose mean is negative are set to 0.

    Kapishnikov et al. 2019, "XRAI: Better Attributions Through Regions".

    Attributes:
        steps: gradients per image and baseline.
    """

    costly: ClassVar[bool] = True

    steps: Count = 50

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) maps, constant in each region."""
        methods = [IntegratedGradients(baseline, steps=self.steps) for baseline in ("black", "white")]
        both = [method(model, pixels, target, rng=rng) for method in methods]
        values = torch.stack(both).mean(0).amax(1)  # the largest of the channels, as in the authors' implementation
        found = [
            ranked(own.double().cpu().numpy(), segments(image.detach().double().cpu().numpy()))
            for own, image in zip(values, pixels)
        ]
        return torch.from_numpy(np.stack(found)).clamp_min(0).to(pixels)


def segments(image: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(3, H, W) -> (segments, H, W): Felzenszwalb's of all scales, dilated."""
    from skimage.segmentation import felzenszwalb
    from skimage.transform import resize

    height, width = image.shape[1:]
    low, high = image.min(), image.max()
    seen = 2 * (image.transpose(1, 2, 0) - low) / (high - low or 1) - 1
    sides, whole = (min(height, SIDE), min(width, SIDE)), (height, width)
    if sides != whole:
        seen = resize(seen, sides, order=3, mode="constant", preserve_range=True, anti_aliasing=True)
    least = max(2, round(SMALLEST * sides[0] * sides[1] / SIDE**2))
    found: list[NDArray[np.bool_]] = []
    for scale in SCALES:
        labels: Any = felzenszwalb(seen, scale=scale, sigma=0.8, min_size=least, channel_axis=-1)
        if sides != whole:
            labels = resize(labels, whole, order=0, mode="constant", preserve_range=True, anti_aliasing=False)
        found.append(np.unique(labels)[:, None, None] == labels)
    return _dilated(np.concatenate(found))


def _dilated(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each mask with everything within `DILATION` pixels."""
    offset = torch.arange(-DILATION, DILATION + 1)
    disk = (offset[:, None] ** 2 + offset**2 <= DILATION**2).float()[None, None]
    parts = torch.from_numpy(masks).float()[:, None].split(_TOGETHER)
    return torch.cat([F.conv2d(part, disk, padding=DILATION)[:, 0] > 0.5 for part in parts]).numpy()


def ranked(values: NDArray[np.float64], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Add segments one by one, each time the one whose new pixels have the highest mean.

    Args:
        values: (H, W) attributions.
        masks: (segments, H, W).

    Returns:
        (H, W) the mean of the pixels with which a pixel was added; what no segment adds has the mean of what is left.
    """
    flat, inside = values.ravel(), masks.reshape(len(masks), -1)
    least = max(1, round(LEAST_NEW * flat.size / SIDE**2))
    count, total = inside.sum(1), inside @ flat
    found, left = np.full(flat.shape, np.nan), np.ones(flat.shape, dtype=bool)
    while True:
        gain = np.where(count >= least, total / np.maximum(count, 1), -np.inf)
        best = int(gain.argmax())
        if np.isneginf(gain[best]):
            break
        new = np.flatnonzero(inside[best] & left)
        found[new] = gain[best]
        left[new] = False
        count = count - inside[:, new].sum(1)
        total = total - inside[:, new] @ flat[new]
    if left.any():
        found[left] = flat[left].mean()
    return found.reshape(values.shape)
