"""Images as 8-bit levels, which is what a file holds, and as the pixels that a network is given."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.attacks.defences import Defence
from deepscope.models import VisionModel
from deepscope.models.prediction import forward
from deepscope.session import Session

_BATCH = 32


def to_pixels(levels: Tensor, model: VisionModel) -> Tensor:
    """uint8 levels -> pixels in [0, 1] on the model's device, channels last, which convolutions prefer."""
    return levels.to(model.device).float().div(255).contiguous(memory_format=torch.channels_last)


def to_levels(pixels: Tensor) -> Tensor:
    """Pixels, clipped to [0, 1] -> uint8 levels on the CPU."""
    return (pixels.detach().clamp(0, 1) * 255).round().byte().cpu()


def logits(model: VisionModel, levels: Tensor, session: Session, *, defence: Defence | None = None) -> Tensor:
    """(N, C) logits of (N, 3, H, W) uint8 images, passed through a defence and resized to what the model takes."""
    return torch.cat([forward(model, _prepared(model, part, defence), session) for part in levels.split(_BATCH)])


def _prepared(model: VisionModel, levels: Tensor, defence: Defence | None) -> Tensor:
    pixels = to_pixels(levels, model)
    if defence is not None:
        pixels = defence(pixels)
    size = model.preprocessing.size
    if tuple(pixels.shape[2:]) == size:
        return pixels
    return functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
