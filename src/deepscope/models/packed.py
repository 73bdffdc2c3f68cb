"""Products with weights that oneDNN lays out beforehand: on a CPU, they take down to half the time of PyTorch's own.

PyTorch leaves single-precision linear layers to a library that uses the widest instructions on its maker's processors
alone, and runs convolutions of one pixel on weights that are laid out anew in each pass. Both are products of the same
kind. The operations are those that `torch.compile` uses; they ignore or refuse a bias that is to be repeated, which is
left to PyTorch.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from deepscope.models.stamps import stamp

_ROOM = 2**26
"""Numbers of weights that are laid out, at most: 256 MB, and as much again for the backward pass."""
_TOLERANCE = 1e-5


class Matrix:
    """A weight matrix (out, in) that is laid out, and its transpose once it is needed.

    Args:
        weight: the matrix; it must not change.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._transpose: Matrix | None = None  # it does not know this one: a cycle would outlive its weight
        self._laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())

    @property
    def transpose(self) -> Matrix:
        """What gradients are multiplied by."""
        if self._transpose is None:
            self._transpose = Matrix(self._weight.t())
        return self._transpose

    def times(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(..., in) -> (..., out), without a gradient."""
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), self._laid_out, bias, "none", [], "")

    def of_pixels(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W), with channels last in memory, and without a gradient."""
        found = self.times(x.permute(0, 2, 3, 1), bias).permute(0, 3, 1, 2)
        return found.data  # no view, so that the next layer may change it in place


class Product(torch.autograd.Function):
    """`F.linear` with a laid out matrix, or a convolution of one pixel. Neither matrix nor bias gets a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix, bias: Tensor | None, pixels: bool) -> Tensor:
        """(..., in) -> (..., out), or (N, in, H, W) -> (N, out, H, W) where they are pixels."""
        ctx.matrix, ctx.pixels = matrix, pixels
        return matrix.of_pixels(x, bias) if pixels else matrix.times(x, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, None, None, None]:
        """(..., out) -> (..., in), or (N, out, H, W) -> (N, in, H, W)."""
        return Product.apply(gradients[0], ctx.matrix.transpose, None, ctx.pixels), None, None, None


class Matrices:
    """Those that were laid out, each for as long as its weight is alive.

    Args:
        least: rows of a product below which it is left to PyTorch, because laying out takes as long.
    """

    def __init__(self, least: int) -> None:
        self.least = least
        self._known = WeakTensorKeyDictionary()  # weight -> its stamp, its matrix

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
        """`F.linear` of (..., in) with (out, in); None where PyTorch's own is as good, or has to do it."""
        return self._product(x, weight, bias, pixels=False) if x.ndim > 1 else None

    def convolution(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
        """A convolution of (N, in, H, W) with (out, in, 1, 1) and stride 1; None as in `linear`."""
        last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
        return self._product(x, weight, bias, pixels=True) if last else None

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, pixels: bool) -> Tensor | None:
        enough = 0 < max(1, self.least) * weight.shape[1] <= x.numel()
        fits = x.shape[1 if pixels else -1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])
        matrix = self._matrix(weight) if enough and fits and _plain(x, weight, bias) else None
        if matrix is None:
            return None
        if x.requires_grad and torch.is_grad_enabled():
            return Product.apply(x, matrix, bias, pixels)  # pyright: ignore[reportReturnType]
        return matrix.of_pixels(x, bias) if pixels else matrix.times(x, bias)

    def _matrix(self, weight: Tensor) -> Matrix | None:
        known, now = self._known.get(weight), stamp(weight)
        if known is not None and known[0] == now:
            return known[1]
        held = sum(other.numel() for other in self._known if other is not weight)
        if held + weight.numel() > _ROOM:
            return None
        found = Matrix(weight.detach().flatten(1))
        self._known[weight] = now, found
        return found


def _plain(*tensors: Tensor | None) -> bool:
    """Whether they are what the operations take, and nobody asks for another precision or for gradients of weights."""
    x, *weights = (tensor for tensor in tensors if tensor is not None)
    return (
        x.device.type == "cpu"
        and type(x) is Tensor
        and all(tensor.dtype == torch.float32 and tensor.device == x.device for tensor in (x, *weights))
        and not any(tensor.requires_grad or tensor.is_inference() for tensor in weights)
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.enabled
        and _available()
    )


@cache
def _available() -> bool:
    """Whether PyTorch has the operations for this processor, and they do what `F.linear` does."""
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return False
    rng = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=rng) for shape in ((40, 24), (32, 24), (32,)))
    try:
        found = Matrix(weight).times(x, bias)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return bool((found - F.linear(x, weight, bias)).abs().max() <= _TOLERANCE * found.abs().max())
