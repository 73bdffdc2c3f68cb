"""Whether the scores of an image depend on the images beside it in a batch."""

from __future__ import annotations

import torch
from torch import Tensor

_TOLERANCE = 1e-3
"""Of the largest score. Rounding moves scores by 1e-6 of it, batch statistics and dynamic quantisation by 1e-2."""
MIXES = (
    "computes with all images of a batch together, so each image is run without the others: if it was exported in "
    "training mode, export it again after eval()"
)
"""What is said of a program whose scores depend on the batch."""


def unlike(channels: int, size: tuple[int, int], *, top: float = 1.0) -> Tensor:
    """(2, C, H, W) noise between 0 and `top`, the second image much brighter than the first."""
    noise = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    noise[0] *= 0.5
    noise[1] = 1 - 0.2 * noise[1]
    return top * noise


def independent(alone: Tensor, together: Tensor) -> bool:
    """Whether images have the same scores alone and in one batch, up to rounding. NaN is equal to NaN.

    Args:
        alone: (N, ...) scores of images that were run one by one.
        together: (N, ...) of the same images in one batch.
    """
    if alone.shape != together.shape:
        return False
    largest = float(alone.nan_to_num(0, 0, 0).abs().max()) if alone.numel() else 0.0
    return torch.allclose(alone, together, rtol=0, atol=_TOLERANCE * largest, equal_nan=True)
