"""Features of photographs for the Frechet distance, by the bundled network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.features import backbone_of, class_layer_input
from deepscope.features.engine import engine_of
from deepscope.features.passes import Quick, batch_size
from deepscope.models import DEFAULT, load_model
from deepscope.session import Session

Features = Callable[[Tensor], Tensor]
"""(N, 1 or 3, H, W) uint8 images -> (N, D) float32 on the CPU."""


def bundled_features(session: Session) -> Features:
    """Input of the default model's class layer in float32, for images resized to its input size."""
    model = load_model(DEFAULT, session)
    geometry = model.preprocessing
    exact = replace(session, precision="float32", may_halve=False)
    batch = batch_size(session.device)
    backbone = backbone_of(model, [(class_layer_input(model), "mean")])

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        def pixels(part: Tensor) -> Tensor:
            levels = in_colour(part.to(session.device)).float() / 255
            return functional.interpolate(levels, geometry.size, mode="bilinear", antialias=True)

        run = engine_of(backbone, geometry, exact, images=len(images), batch=batch)
        run = run or Quick(backbone, pixels(images[:1]), exact)
        return torch.cat([torch.from_numpy(run(pixels(part))[0]) for part in images.split(batch)])

    return features


def in_colour(images: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) -> (N, 3, H, W)."""
    return images.expand(-1, 3, -1, -1)
