"""The one place where attribution methods run the network: batched to memory, never a parameter gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from deepscope.models import batching
from deepscope.models.fast_backward import FastBackward
from deepscope.models.vision_model import VisionModel

Output = TypeVar("Output")

FIRST_BATCH = 8
"""Rows of the first batch on a CPU, which is measured; what follows is as large as memory allows."""
FIRST_GPU_BATCH = 64
"""The same elsewhere, where a pass of few rows takes as long as one of many."""


def gradient(
    model: VisionModel, pixels: Tensor, target: Tensor, *, fast: FastBackward | None = None
) -> tuple[Tensor, Tensor]:
    """The gradient of each image's target logit with respect to its pixels, and the logit.

    Args:
        pixels: (N, 3, H, W).
        target: (N,) class indices.
        fast: what was prepared for many gradients of this model.

    Returns:
        (N, 3, H, W) gradients and (N,) logits.
    """

    def taken(fast: FastBackward) -> tuple[Tensor, Tensor]:
        leaf = pixels.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        with torch.enable_grad():
            logit = fast.run(lambda: target_logit(model, leaf, target))
            (found,) = torch.autograd.grad(logit.sum(), leaf)
        return found, logit.detach()

    try:
        return taken(fast or FastBackward.on(pixels.device))
    except CheckpointError:  # the network runs parts of itself again in the backward pass, with the same result
        return taken(FastBackward(enabled=False))


def prepared(model: VisionModel, pixels: Tensor) -> FastBackward:
    """For many passes of a model over images such as these; forward passes take about half the time on a CPU.

    It costs two forward and two backward passes over one image. A model without gradients runs as it is.
    """
    return FastBackward.of(model, pixels) if model.capabilities.gradients else FastBackward(enabled=False)


def target_logit(model: VisionModel, pixels: Tensor, target: Tensor) -> Tensor:
    """(N,) logits of the target classes: see `VisionModel.objective`."""
    return model.objective(model(pixels), target)


def scores(model: VisionModel, pixels: Tensor, fast: FastBackward) -> Tensor:
    """(N, C) logits, without a gradient.

    Args:
        fast: what `prepared` gave for the model.
    """
    with torch.no_grad():
        return fast.run(lambda: model(pixels.contiguous(memory_format=torch.channels_last)))


def probability(model: VisionModel, pixels: Tensor, target: Tensor, fast: FastBackward) -> Tensor:
    """(N,) probabilities of the target classes; no gradient."""
    return model.probabilities(scores(model, pixels, fast)).gather(1, target[:, None]).squeeze(1)


def batches(total: int, device: torch.device, run: Callable[[slice], Output]) -> Iterator[tuple[slice, Output]]:
    """Run rows 0 to `total` through the network in batches that fit into memory: see `models.batching.batches`."""
    size = FIRST_BATCH if device.type == "cpu" else FIRST_GPU_BATCH
    return batching.batches(total, run, size=size, measured_on=device)
