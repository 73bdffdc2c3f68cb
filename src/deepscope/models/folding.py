"""A batch norm with fixed statistics is a scale and a shift: the convolution before it can do both."""

from __future__ import annotations

from torch import Tensor


def folded(
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The weight (O, I, h, w) and bias (O,) of a convolution that does the work of the batch norm after it as well.

    Args:
        weight, bias: the convolution's own.
        mean, variance, scale, shift: (O,) of the batch norm; `eps` is added to the variance.
    """
    gain = (variance + eps).rsqrt()
    if scale is not None:
        gain = gain * scale
    moved = -mean * gain if bias is None else (bias - mean) * gain
    return weight * gain.view(-1, 1, 1, 1), moved if shift is None else moved + shift
