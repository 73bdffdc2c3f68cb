"""SmoothGrad: noise is taken out of the gradient by adding noise to the image."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution, image_seeds
from deepscope.attributions.engine import batches, gradient
from deepscope.images.streaming import decoding_threads
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
        seeds = image_seeds(len(pixels), self.samples, rng).flatten().tolist()
        image = torch.arange(len(pixels), device=pixels.device).repeat_interleave(self.samples)
        fast = FastBackward.of(model, pixels)
        spread = self.noise * (pixels.amax((1, 2, 3)) - pixels.amin((1, 2, 3)))

        total, squares = torch.zeros_like(pixels), torch.zeros_like(pixels)
        with ThreadPoolExecutor(decoding_threads(), thread_name_prefix="deepscope-noise") as pool:
            noise = _Noise(seeds, pixels, pool)

            def noisy_gradient(rows: slice) -> Tensor:
                noisy = noise(rows) * spread[image[rows], None, None, None] + pixels[image[rows]]
                return gradient(model, noisy, target[image[rows]], fast=fast)[0]

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


class _Noise:
    """Standard normal numbers for each seed: the same on every device, because they are drawn on the CPU.

    A GPU computes a gradient sooner than one core draws its noise: threads draw, one batch ahead of the passes.
    """

    def __init__(self, seeds: list[int], pixels: Tensor, pool: ThreadPoolExecutor) -> None:
        self._seeds, self._pixels, self._pool = seeds, pixels, pool
        self._drawn: dict[int, Future[Tensor]] = {}

    def __call__(self, rows: slice) -> Tensor:
        """(n, 3, H, W) for a slice of the seeds, on the pixels' device and in their dtype."""
        ahead = min(2 * rows.stop - rows.start, len(self._seeds))
        pending = {row: self._drawn.get(row) or self._pool.submit(self._draw, row) for row in range(rows.start, ahead)}
        self._drawn = pending  # what came before is let go
        drawn = (pending[row].result() for row in range(rows.start, rows.stop))
        there = [noise.to(self._pixels.device, non_blocking=True) for noise in drawn]
        return torch.stack(there).to(self._pixels)

    def _draw(self, row: int) -> Tensor:
        rng = torch.Generator().manual_seed(self._seeds[row])
        return torch.randn(self._pixels.shape[1:], generator=rng, pin_memory=self._pixels.is_cuda)
