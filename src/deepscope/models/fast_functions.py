"""A convolution and a batch norm whose backward passes are faster on a CPU. They give parameters no gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class StridedConvolution(torch.autograd.Function):
    """conv2d with one stride s, whose backward is a sub-pixel convolution.

    It is a transposed convolution with stride s. Each of its s x s phases is an ordinary convolution of the output's
    gradient; together they are one, whose channels are then shuffled into place (Shi et al. 2016, "Real-Time Single
    Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network"). With three input
    channels it is faster, because there are s x s times as many channels to fill blocks with.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, s: int, padding: Sequence[int]) -> Tensor:
        """(N, C, H, W) -> (N, O, h, w)."""
        ctx.save_for_backward(weight)
        ctx.stride, ctx.padding, ctx.size = s, padding, x.shape[2:]
        return F.conv2d(x, weight, bias, s, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        """(N, O, h, w) -> (N, C, H, W)."""
        (weight,), (gradient,), s, size = ctx.saved_tensors, gradients, ctx.stride, ctx.size
        before = [-p % s for p in ctx.padding]  # zeros that make the padding, and so every phase, begin at a multiple
        after = [-(k + b) % s for k, b in zip(weight.shape[2:], before)]
        kernel = F.pad(weight, (before[1], after[1], before[0], after[0]))
        rows, columns = (k // s for k in kernel.shape[2:])
        phases = kernel.unflatten(3, (columns, s)).unflatten(2, (rows, s)).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
        blocks = [-(-length // s) for length in size]
        before_first = [taps - 1 - (p + b) // s for taps, p, b in zip((rows, columns), ctx.padding, before)]
        beyond = [
            q + taps - 1 - f - g for q, taps, f, g in zip(blocks, (rows, columns), before_first, gradient.shape[2:])
        ]
        margin = [max(0, *ends) for ends in zip(before_first, beyond)]  # the same on both ends, so nothing is copied
        found = F.conv2d(gradient, phases.reshape(-1, len(weight), rows, columns), padding=margin)
        top, left = (m - f for m, f in zip(margin, before_first))
        found = F.pixel_shuffle(found[..., top : top + blocks[0], left : left + blocks[1]], s)
        return found[..., : size[0], : size[1]], None, None, None, None


class BatchNorm(torch.autograd.Function):
    """batch_norm with fixed statistics: its backward is one multiplication, not a reduction over the batch as well."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        """(N, C, ...) -> (N, C, ...)."""
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward(scale if weight is None else scale * weight)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """(N, C, ...) -> (N, C, ...)."""
        (scale,), (gradient,) = ctx.saved_tensors, gradients
        return gradient * scale.view(-1, *[1] * (gradient.ndim - 2)), None, None, None, None, None
