"""Features of photographs for the Frechet distance, by the bundled network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.models import DEFAULT, load_model
from deepscope.session import Session

Features = Callable[[Tensor], Tensor]
"""(N, 1 or 3, H, W) uint8 images -> (N, D) float32 on the CPU."""

_AT_ONCE = 50


def bundled_features(session: Session) -> Features:
    """Input of the default model's class layer, for images resized to its input size."""
    model = load_model(DEFAULT, session)
    size = model.preprocessing.size
    head = [name for name, module in model.network.named_modules() if isinstance(module, torch.nn.Linear)][-1]

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        found: list[Tensor] = []
        hook = model.layer(head).register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].float().cpu()))
        try:
            for part in images.split(_AT_ONCE):
                pixels = in_colour(part).to(model.device).float() / 255
                model(functional.interpolate(pixels, size, mode="bilinear", antialias=True))
        finally:
            hook.remove()
        return torch.cat(found)

    return features


def in_colour(images: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) -> (N, 3, H, W)."""
    return images.expand(-1, 3, -1, -1)
