"""What a digit looks like apart from which digit it is: its slant and its thickness."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def slant(images: Tensor) -> Tensor:
    """(N, 1, H, W) uint8 bright strokes on black -> (N,) float64: how far a stroke leans, in pixels right a pixel up.

    It is the slope of x against y by the image's second moments, ink as mass; 0 for an empty image.
    """
    ink = images[:, 0].double()
    y, x = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in ink.shape[1:]), indexing="ij")
    mass = ink.sum((1, 2)).clamp(min=1e-12)[:, None, None]
    across = x - (ink * x).sum((1, 2), keepdim=True) / mass
    down = y - (ink * y).sum((1, 2), keepdim=True) / mass
    spread = (ink * down * down).sum((1, 2))
    return torch.where(spread > 0, -(ink * across * down).sum((1, 2)) / spread.clamp(min=1e-12), 0)


def thickness(images: Tensor) -> Tensor:
    """(N, 1, H, W) uint8 bright strokes on black -> (N,) float64: ink over the skeleton's length, in pixels."""
    from skimage.morphology import skeletonize

    found = [image.sum() / 255 / max(int(skeletonize(image > 127).sum()), 1) for image in images[:, 0].numpy()]
    return torch.tensor(found, dtype=torch.float64)


def agreement(values: NDArray[np.float64]) -> float:
    """Intraclass correlation ICC(1) (Shrout and Fleiss 1979) of (subjects, measurements).

    Here a subject is a z, and its measurements are the same style in each class, less the class's mean: 1 where z alone
    decides the style, about 0 where it decides nothing. NaN where nothing varies.
    """
    values = values - values.mean(0)
    subjects, measured = values.shape
    between = measured * values.mean(1).var(ddof=1)
    within = ((values - values.mean(1, keepdims=True)) ** 2).sum() / (subjects * (measured - 1))
    total = between + (measured - 1) * within
    return float((between - within) / total) if total else float("nan")
