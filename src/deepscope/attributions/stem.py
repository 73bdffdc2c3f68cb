"""The way back through a network's first convolution, which costs more than all others where it is done as usual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

FEW_CHANNELS = 4
"""Libraries compute gradients by blocks of 8 or 16 input channels; three colours leave most of a block empty."""


class FastStem(TorchFunctionMode):
    """Inside it, a strided convolution of a few channels has, on a CPU, a faster gradient with respect to its input.

    That gradient is a transposed convolution with stride s. Each of its s x s phases is an ordinary convolution of
    the output's gradient; together they are one, whose channels are then shuffled into place (Shi et al. 2016,
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network").
    The sums are the same, only faster: there are s x s times as many channels to fill the blocks with.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d and len(args) == 7 and not kwargs:  # as nn.Conv2d calls it
            x, weight, bias, stride, padding, dilation, groups = args
            strided = not isinstance(padding, str) and stride[0] == stride[1] > 1
            plain = strided and dilation == (1, 1) and groups == 1 and x.device.type == "cpu"
            if plain and x.shape[1] <= FEW_CHANNELS and x.requires_grad:
                return StridedConvolution.apply(x, weight, bias, stride[0], padding)
        return func(*args, **(kwargs or {}))


class StridedConvolution(torch.autograd.Function):
    """conv2d with one stride s, whose backward is a sub-pixel convolution; weights get no gradient."""

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
        margins: list[int] = []
        for axis, taps in ((1, columns), (0, rows)):
            first = taps - 1 - (ctx.padding[axis] + before[axis]) // s
            margins += [first, -(-size[axis] // s) + taps - 1 - first - gradient.shape[2 + axis]]
        found = F.conv2d(F.pad(gradient, margins), phases.reshape(-1, len(weight), rows, columns))
        return F.pixel_shuffle(found, s)[..., : size[0], : size[1]], None, None, None, None
