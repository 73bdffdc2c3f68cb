"""Regularisers of class images: penalties subtracted from the score, and changes after each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deepscope.ascent import State


def squared_norm(images: Tensor) -> Tensor:
    """(N, ...) -> (N,) squared L2 norms (Simonyan et al. 2014)."""
    return images.flatten(1).square().sum(1)


def total_variation(pixels: Tensor) -> Tensor:
    """(N, C, H, W) -> (N,): mean squared difference of vertical neighbours plus that of horizontal ones."""
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).square().flatten(1).mean(1)
    return down + (pixels[..., 1:] - pixels[..., :-1]).square().flatten(1).mean(1)


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur at regular steps, the first one included (Yosinski et al. 2015): a projection of `ascend`.

    Attributes:
        every: steps between blurs.
        sigma: standard deviation in pixels. The kernel ends at four of them; images are mirrored at their edges.
    """

    every: int
    sigma: float

    def __call__(self, points: Tensor, state: State, /) -> Tensor:
        """Blurred points, or the same ones."""
        return gaussian_blur(points, self.sigma) if state.step % self.every == 0 else points


@dataclass(frozen=True)
class ClipSmallNorm:
    """The pixels of smallest norm become zero, the mean colour (Yosinski et al. 2015): a projection of `ascend`.

    Attributes:
        percentile: percentage of the pixels.
    """

    percentile: float

    def __call__(self, points: Tensor, _: State, /) -> Tensor:
        """Points without the faint pixels."""
        return _without_lowest(points, points.norm(dim=1, keepdim=True), self.percentile)


@dataclass(frozen=True)
class ClipSmallContribution:
    """The pixels that matter least to the score become zero (Yosinski et al. 2015): a projection of `ascend`.

    To first order, setting a pixel to zero changes the score by the sum over its channels of value x gradient.

    Attributes:
        percentile: percentage of the pixels.
    """

    percentile: float

    def __call__(self, points: Tensor, state: State, /) -> Tensor:
        """Points without the idle pixels; contributions are those before the step, where the gradient is known."""
        assert state.gradient is not None
        contribution = (state.points * state.gradient).sum(1, keepdim=True).abs()
        return _without_lowest(points, contribution, self.percentile)


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """(N, C, H, W) -> blurred along both axes; sigma in pixels, 0 for no blur."""
    if sigma == 0:
        return images
    radius = min(int(4 * sigma + 0.5), min(images.shape[-2:]))
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = _mirrored(images, radius)
    wide = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(wide, kernel.transpose(2, 3), groups=images.shape[1])


def _mirrored(images: Tensor, margin: int) -> Tensor:
    """Images padded by `margin` mirrored pixels on each side, the edge repeated (c b a | a b c)."""
    for dim in (-2, -1):
        before = images.narrow(dim, 0, margin).flip(dim)
        after = images.narrow(dim, images.shape[dim] - margin, margin).flip(dim)
        images = torch.cat([before, images, after], dim)
    return images


def _without_lowest(points: Tensor, importance: Tensor, percentile: float) -> Tensor:
    """Zero where `importance` (N, 1, H, W) is below its percentile in the image."""
    threshold = importance.flatten(1).quantile(percentile / 100, dim=1).view(-1, 1, 1, 1)
    return points * (importance >= threshold)
