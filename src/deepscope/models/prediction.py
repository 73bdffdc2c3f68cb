"""Forward passes without a graph."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from deepscope.models.batching import in_parts
from deepscope.models.serving import Served
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session


def forward(model: VisionModel, pixels: Tensor, session: Session, *, images: int = 0) -> Tensor:
    """(N, 3, H, W) pixels -> (N, C) float32 logits on the CPU, without a graph, in the session's precision.

    Args:
        images: of the whole work that these belong to: an engine is chosen by it, and PyTorch runs where it is 0.
    """
    enabled = session.precision == "bfloat16"
    quick = served(model, session, images=images)

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=enabled):
            return quick(part.to(model.device)).float().cpu()

    return in_parts(run, pixels)


def served(model: VisionModel, session: Session, *, images: int) -> VisionModel:
    """The model, whose passes without a gradient run on the engine of the session.

    Args:
        images: passes to come, about.
    """
    if session.engine == "torch" or not images:
        return model
    made = copy.copy(model)  # with the same outputs, and the layers in the mode that they are in
    object.__setattr__(made, "served", Served(model.network, model.outputs, session, images))
    return made
