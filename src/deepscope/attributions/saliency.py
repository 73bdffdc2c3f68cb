"""The gradient itself, and the gradient times the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.engine import batches, gradient
from deepscope.models.fast_backward import WORTH_PREPARING, FastBackward
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class Saliency(Attribution):
    """How much each pixel could change the class score: the absolute gradient, maximum over the channels.

    Simonyan, Vedaldi and Zisserman 2014, "Deep Inside Convolutional Networks".
    """

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) absolute gradients, maximum over the channels."""
        return gradients(model, pixels, target).abs().amax(1)


@dataclass(frozen=True)
class GradientTimesInput(Attribution):
    """The gradient times the pixels: a first-order estimate of each channel's share of the score.

    Shrikumar et al. 2016, "Not Just a Black Box".
    """

    signed: ClassVar[bool] = True

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, 3, H, W) gradient times pixels."""
        return gradients(model, pixels, target) * pixels


def gradients(model: VisionModel, pixels: Tensor, target: Tensor) -> Tensor:
    """(N, 3, H, W) gradients of the target logits with respect to the pixels, in batches."""
    found, many = torch.empty_like(pixels), len(pixels) >= WORTH_PREPARING
    fast = FastBackward.of(model, pixels) if many else FastBackward.on(pixels.device)
    for rows, (part, _) in batches(
        len(pixels), pixels.device, lambda rows: gradient(model, pixels[rows], target[rows], fast=fast)
    ):
        found[rows] = part
    return found
