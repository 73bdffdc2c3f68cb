"""DeepLIFT: the difference to a baseline, carried back through the network without loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution, baseline_pixels
from deepscope.attributions.engine import batches
from deepscope.attributions.rescale import Rescale
from deepscope.errors import UnsupportedError
from deepscope.models.vision_model import VisionModel

TOLERANCE = 0.01
"""Largest completeness error, relative to the logits, before an operation without a rule is suspected."""


@dataclass(frozen=True)
class DeepLIFT(Attribution):
    """Each channel's share of the score's difference to a baseline, by the rescale rule; the shares add up to it.

    Activation functions are followed wherever they are called, as modules, reused modules or plain functions.
    Products of two activations (gates, queries and keys, attention and values, activations over their norm) share
    their difference evenly, a softmax is exponentials over their sum, and max pooling gives its difference to the
    position that makes it. Where a baseline of one colour leaves several positions equal, the first one counts, which
    is arbitrary. Nothing is patched: the rules hold for one forward pass.

    Shrikumar, Greenside and Kundaje 2017, "Learning Important Features Through Propagating Activation Differences".

    Attributes:
        baseline: the reference image: black, or mid-grey.
    """

    signed: ClassVar[bool] = True

    baseline: Literal["black", "grey"] = "black"

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, 3, H, W) shares; each image's add up to its logit minus the baseline's.

        Raises:
            UnsupportedError: the network has an operation that DeepLIFT has no rule for.
        """
        shares = torch.empty_like(pixels)
        reference = baseline_pixels(self.baseline, pixels[:1])
        for rows, part in batches(
            len(pixels), pixels.device, lambda rows: _shares(model, pixels[rows], reference, target[rows])
        ):
            shares[rows] = part
        return shares


def _shares(model: VisionModel, pixels: Tensor, reference: Tensor, target: Tensor) -> Tensor:
    inputs = torch.cat([pixels, reference]).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.enable_grad():
        with Rescale(len(pixels)):
            logits = model(inputs)
        (multipliers,) = torch.autograd.grad(model.objective(logits[:-1], target).sum(), inputs)
    scores = logits.detach()
    logit, without = model.objective(scores[:-1], target), model.objective(scores[-1:].expand(len(target), -1), target)
    shares = multipliers[:-1] * (pixels - reference)
    error = (shares.sum((1, 2, 3)) - (logit - without)).abs()
    if not bool((error <= TOLERANCE * torch.maximum(logit.abs(), without.abs())).all()):  # NaN too
        raise UnsupportedError(
            f"DeepLIFT has no rule for an operation of {model.name}: its shares miss the difference of the logits by "
            f"{float(error.max()):.3g}; use integrated-gradients or occlusion, which need no rules",
            what="deep-lift",
        )
    return shares
