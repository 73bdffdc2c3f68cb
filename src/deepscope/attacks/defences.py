"""Simple defences as baselines. Each changes the image before the network sees it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

Defence: TypeAlias = Callable[[Tensor], Tensor]
"""(N, 3, H, W) pixels in [0, 1] -> the same shape, with less of the perturbation."""

WARNING = (
    "Surviving an attack is not robustness: it shows that this attack, at these settings, failed. Compare several "
    "strong attacks and trust the lowest accuracy. A defence that the attacks did not know about proves even less: an "
    "attack that knows about it breaks it (Athalye et al. 2018)."
)


def jpeg(pixels: Tensor, quality: int = 75) -> Tensor:
    """Encode and decode as JPEG (Dziugaite et al. 2016)."""
    decoded = []
    for image in pixels:
        levels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
        decoded.append(torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1))
    return torch.stack(decoded).to(pixels).div(255)


def bit_depth(pixels: Tensor, bits: int = 4) -> Tensor:
    """Round to fewer levels (Xu et al. 2018)."""
    top = 2**bits - 1
    return (pixels * top).round() / top


def resize(pixels: Tensor, factor: float = 0.5) -> Tensor:
    """Shrink and enlarge, both with antialiasing (Xie et al. 2018, without the random part)."""
    size = list(pixels.shape[2:])
    smaller = [max(1, round(side * factor)) for side in size]
    small = functional.interpolate(pixels, smaller, mode="bilinear", antialias=True, align_corners=False)
    return functional.interpolate(small, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


DEFENCES: dict[str, Defence] = {"jpeg-75": jpeg, "4-bit": bit_depth, "half-size": resize}
