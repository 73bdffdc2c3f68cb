"""Forward passes without a graph, in batches that shrink where memory is short."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deepscope.errors import SettingError, out_of_memory
from deepscope.models.vision_model import VisionModel
from deepscope.session import Session


def forward(model: VisionModel, pixels: Tensor, session: Session) -> Tensor:
    """(N, 3, H, W) pixels -> (N, C) float32 logits on the CPU, without a graph, in the session's precision."""
    enabled = session.precision == "bfloat16"

    def run(part: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=enabled):
            return model(part.to(model.device)).float().cpu()

    return in_parts(run, pixels)


def in_parts(run: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """`run` on the whole batch, or on ever smaller parts of it while memory runs out.

    Raises:
        SettingError: memory does not suffice for a single image.
    """
    size = len(pixels)
    while True:
        try:
            return torch.cat([run(part) for part in pixels.split(max(size, 1))])
        except Exception as error:
            if not out_of_memory(error):
                raise
            size = smaller(size)


def smaller(size: int) -> int:
    """Half a batch for which memory did not suffice.

    Raises:
        SettingError: it was a single image.
    """
    if size <= 1:
        raise SettingError(
            "device", "is too small: not even one image fits into its memory; choose a smaller model, or cpu"
        ) from None
    return size // 2
