"""The grid of values that an 8-bit image can hold. What is found between its points is lost on saving."""

from __future__ import annotations

import math

from torch import Tensor

from deepscope.errors import InputError


def rounded(pixels: Tensor, levels: int = 256) -> Tensor:
    """Pixels in [0, 1] at the nearest of `levels` values; the gradient passes as if nothing was rounded.

    Seen through this, a network shows during an attack what it will show of the saved image. 0 levels do not round.
    """
    if not levels:
        return pixels
    snapped = (pixels.detach() * (levels - 1)).round() / (levels - 1)
    return snapped + (pixels - pixels.detach())  # adds 0 exactly, and the gradient


def whole_levels(radius: float, levels: int) -> float:
    """The largest Linf radius up to `radius` that an image on the grid can use.

    Raises:
        InputError: it is less than one level.
    """
    if not levels:
        return radius
    steps = math.floor(radius * (levels - 1) + 1e-6)
    if steps < 1:
        raise InputError(
            f"radius {radius:g} is below one level of a saved image (1/{levels - 1}): give more, or 0 levels"
        )
    return steps / (levels - 1)
