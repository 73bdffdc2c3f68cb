"""Forward passes without a graph."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.models.batching import in_parts
from deepscope.models.served import Served
from deepscope.models.serving import may_serve
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


def forward_alike(model: VisionModel, pixels: Tensor, session: Session, size: int) -> Tensor:
    """As `forward`, in passes that all have `size` images, the last one filled up with black ones.

    The logits of an image are then the same, to the last bit, whichever images it is computed with.
    """
    parts: list[Tensor] = []
    for part in pixels.split(size):
        missing = size - len(part)
        filled = functional.pad(part, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else part
        parts.append(forward(model, filled, session, images=int(session.engine != "torch"))[: len(part)])
    return torch.cat(parts)


def served(model: VisionModel, session: Session, *, images: int) -> VisionModel:
    """The model, whose passes without a gradient run on the engine of the session.

    Args:
        images: passes to come, about.
    """
    if not may_serve(model.network, session, images):
        return model
    made = copy.copy(model)  # with the same outputs, and the layers in the mode that they are in
    object.__setattr__(made, "served", Served(model.network, model.outputs, session, images))
    return made
