"""DCGAN's convolutions, 4 x 4 in steps of 2: to half the side, or to twice.

The library's weights' gradient of small images in bfloat16 leaves a CPU half idle. It is one matrix product here, which
takes some 4 % off a training step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

_SIDE, _STRIDE, _PADDING = 4, 2, 1
_SMALL = 4
"""The smaller side, in pixels, up to which the product is the faster."""


class Down(nn.Conv2d):
    """(N, before, 2H, 2W) -> (N, after, H, W)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, _SIDE, _STRIDE, _PADDING, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """The convolution."""
        return down(input, self.weight)


class Up(nn.ConvTranspose2d):
    """(N, before, H, W) -> (N, after, 2H, 2W)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, _SIDE, _STRIDE, _PADDING, bias=False)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The transposed convolution, always to twice the side."""
        if _in_bfloat16(input) and input.shape[3] <= _SMALL:
            return _Up.apply(input.bfloat16(), self.weight.bfloat16())
        return _doubled(input, self.weight)


def down(images: Tensor, weight: Tensor) -> Tensor:
    """(N, C, 2H, 2W) images, (O, C, 4, 4) weights -> (N, O, H, W)."""
    if _in_bfloat16(images) and images.shape[3] <= _SMALL * _STRIDE:
        return _Down.apply(images.bfloat16(), weight.bfloat16())
    return _halved(images, weight)


class _Down(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return _halved(images, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        images, weight = ctx.saved_tensors
        to_images, to_weight = ctx.needs_input_grad
        return (
            _doubled(gradients[0], weight) if to_images else None,
            _to_weight(images, gradients[0]) if to_weight else None,
        )


class _Up(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return _doubled(images, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        images, weight = ctx.saved_tensors
        to_images, to_weight = ctx.needs_input_grad
        return (
            _halved(gradients[0], weight) if to_images else None,
            _to_weight(gradients[0], images) if to_weight else None,
        )


def _in_bfloat16(images: Tensor) -> bool:
    enabled = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return enabled and images.device.type == "cpu"


def _halved(images: Tensor, weight: Tensor) -> Tensor:
    return conv2d(images, weight, None, _STRIDE, _PADDING)


def _doubled(images: Tensor, weight: Tensor) -> Tensor:
    return conv_transpose2d(images, weight, None, _STRIDE, _PADDING)


def _to_weight(large: Tensor, small: Tensor) -> Tensor:
    """The weights' gradient in both directions: (N, C, 2H, 2W) and (N, O, H, W) -> (O, C, 4, 4).

    All that comes back, times all that the windows see.
    """
    padded = pad(large, (_PADDING,) * 4).permute(0, 2, 3, 1).contiguous()
    image, row, column, channel = padded.stride()
    n, back, height, width = small.shape
    windows = padded.as_strided(
        (n, height, width, _SIDE, _SIDE, large.shape[1]),
        (image, _STRIDE * row, _STRIDE * column, row, column, channel),
    )
    by_place = small.permute(0, 2, 3, 1).reshape(-1, back)
    product = by_place.t() @ windows.reshape(len(by_place), -1)
    return product.unflatten(1, (_SIDE, _SIDE, -1)).permute(0, 3, 1, 2)
