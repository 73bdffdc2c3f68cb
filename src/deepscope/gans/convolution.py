"""DCGAN's convolutions, 4 x 4 in steps of 2: to half the side, or to twice.

Where the library's kernels leave a CPU half idle, the same sums are matrix products here: for grey images, and for the
weights' gradients of small images in bfloat16. Together they take about 5 % off a training step of width 64.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, fold, pad

_SIDE, _STRIDE, _PADDING = 4, 2, 1
_SMALL = 4
"""The smaller side, in pixels, up to which products are the faster."""


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
        if _as_products(input, self.weight, input.shape[3]):
            return _Products.apply(*_rounded(input, self.weight), True)
        return _doubled(input, self.weight)


def down(images: Tensor, weight: Tensor) -> Tensor:
    """(N, C, 2H, 2W) images, (O, C, 4, 4) weights -> (N, O, H, W)."""
    if _as_products(images, weight, images.shape[3] // _STRIDE):
        return _Products.apply(*_rounded(images, weight), False)
    return _halved(images, weight)


def _as_products(images: Tensor, weight: Tensor, small: int) -> bool:
    if images.device.type != "cpu":
        return False
    bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return _grey(weight) or (bfloat16 and small <= _SMALL)


def _grey(weight: Tensor) -> bool:
    return weight.shape[1] == 1 and weight.device.type == "cpu"


def _rounded(images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """As autocast rounds what a convolution sees."""
    if not torch.is_autocast_enabled("cpu"):
        return images, weight
    dtype = torch.get_autocast_dtype("cpu")
    return images.to(dtype), weight.to(dtype)


class _Products(torch.autograd.Function):
    """The convolution, or with `up` the transposed one: each is the other's gradient of its images."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, up: bool) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.up = up
        return _doubled(images, weight) if up else _halved(images, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        to_images, to_weight, _ = ctx.needs_input_grad
        gradient = gradients[0].to(weight.dtype)
        back = _halved if ctx.up else _doubled
        large, small = (gradient, images) if ctx.up else (images, gradient)
        return back(gradient, weight) if to_images else None, _to_weight(large, small) if to_weight else None, None


def _halved(large: Tensor, weight: Tensor) -> Tensor:
    """(N, C, 2H, 2W) -> (N, O, H, W)."""
    if not _grey(weight):
        return conv2d(large, weight, None, _STRIDE, _PADDING)
    n, _, height, width = large.shape
    small = _windows(large) @ weight.flatten(1).t()
    return small.view(n, height // _STRIDE, width // _STRIDE, -1).permute(0, 3, 1, 2)


def _doubled(small: Tensor, weight: Tensor) -> Tensor:
    """(N, O, H, W) -> (N, C, 2H, 2W); grey ones in float32 at least, since there windows are laid on each other."""
    if not _grey(weight):
        return conv_transpose2d(small, weight, None, _STRIDE, _PADDING)
    n, _, height, width = small.shape
    windows = (_pixels(small) @ weight.flatten(1)).view(n, height * width, -1).transpose(1, 2)
    exact = windows.to(torch.promote_types(windows.dtype, torch.float32))
    return fold(exact, (height * _STRIDE, width * _STRIDE), _SIDE, padding=_PADDING, stride=_STRIDE)


def _to_weight(large: Tensor, small: Tensor) -> Tensor:
    """The weights' gradient in both directions: (N, C, 2H, 2W) and (N, O, H, W) -> (O, C, 4, 4)."""
    product = _pixels(small).t() @ _windows(large)
    return product.unflatten(1, (_SIDE, _SIDE, -1)).permute(0, 3, 1, 2)


def _pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N * H * W, C)."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _windows(large: Tensor) -> Tensor:
    """(N, C, 2H, 2W) -> (N * H * W, 16 * C), what each output of a convolution sees."""
    n, channels, height, width = large.shape
    padded = pad(large, (_PADDING,) * 4).permute(0, 2, 3, 1).contiguous()
    image, row, column, channel = padded.stride()
    size = (n, height // _STRIDE, width // _STRIDE, _SIDE, _SIDE, channels)
    seen = padded.as_strided(size, (image, _STRIDE * row, _STRIDE * column, row, column, channel))
    return seen.reshape(-1, _SIDE * _SIDE * channels)
