"""Forward passes without a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from deepscope.models.batching import in_parts
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session


def forward(model: VisionModel, pixels: Tensor, session: Session) -> Tensor:
    """(N, 3, H, W) pixels -> (N, C) float32 logits on the CPU, without a graph, in the session's precision."""
    enabled = session.precision == "bfloat16"

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=enabled):
            return model(part.to(model.device)).float().cpu()

    return in_parts(run, pixels)
