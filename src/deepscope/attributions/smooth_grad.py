"""SmoothGrad: noise is taken out of the gradient by adding noise to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution, image_seeds
from deepscope.attributions.engine import batches, gradient
from deepscope.models.fast_backward import FastBackward
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count


@dataclass(frozen=True)
class SmoothGrad(Attribution):
    """The gradient averaged over noisy copies of the image; absolute, maximum over the channels.

    Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise"; the squared form is Hooker et al. 2019, "A
    Benchmark for Interpretability Methods in Deep Neural Networks", the variance form Adebayo et al. 2018, "Local
    Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values".

    Attributes:
        samples: noisy copies per image.
        noise: standard deviation of the noise, as a share of the range of the image's pixels.
        form: mean of the gradients, mean of their squares, or their variance.
    """

    samples: Count = 32
    noise: float = 0.15
    form: Literal["mean", "squared", "variance"] = "mean"

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) maps, the maximum over the channels."""
        seeds = image_seeds(len(pixels), self.samples, rng).flatten()
        image = torch.arange(len(pixels), device=pixels.device).repeat_interleave(self.samples)
        fast = FastBackward.of(model, pixels)
        spread = self.noise * (pixels.amax((1, 2, 3)) - pixels.amin((1, 2, 3)))

        def noisy_gradient(rows: slice) -> Tensor:
            noise = [
                torch.randn(pixels.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds[rows].tolist()
            ]
            noisy = torch.stack(noise).to(pixels) * spread[image[rows], None, None, None] + pixels[image[rows]]
            return gradient(model, noisy, target[image[rows]], fast=fast)[0]

        total, squares = torch.zeros_like(pixels), torch.zeros_like(pixels)
        for rows, found in batches(len(image), pixels.device, noisy_gradient):
            total.index_add_(0, image[rows], found)
            if self.form != "mean":
                squares.index_add_(0, image[rows], found.square())
        mean = total / self.samples
        if self.form == "mean":
            return mean.abs().amax(1)
        if self.form == "squared":
            return (squares / self.samples).amax(1)
        return (squares / self.samples - mean.square()).clamp_min(0).amax(1)
