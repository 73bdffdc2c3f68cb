"""The grid of values that an 8-bit image can hold. What is found between its points is lost on saving."""

from __future__ import annotations

import math

from torch import Tensor

from deepscope.errors import DeepscopeError

_BISECTIONS = 12


def rounded(pixels: Tensor, levels: int = 256) -> Tensor:
    """Pixels in [0, 1] at the nearest of `levels` values; the gradient passes as if nothing was rounded.

    Seen through this, a network shows during an attack what it will show of the saved image. 0 levels do not round.
    """
    if not levels:
        return pixels
    snapped = (pixels.detach() * (levels - 1)).round() / (levels - 1)
    return snapped + (pixels - pixels.detach())  # adds 0 exactly, and the gradient


def rounded_within(pixels: Tensor, centre: Tensor, radius: float, levels: int = 256) -> Tensor:
    """`rounded`, with every row's change from `centre` shortened until it is no longer than `radius` when rounded.

    A change that is thinly spread over an image doubles its length when each channel jumps to the next level. Of a
    shortened change, the channels that changed most still jump.

    Args:
        pixels, centre: (N, 3, H, W) in [0, 1]; the centre is on the grid.
        radius: Euclidean length, pixels in [0, 1].
    """
    change = pixels.detach() - centre
    fits, fails = change.new_zeros(len(change)), change.new_ones(len(change))
    seen = rounded(pixels.detach(), levels)
    outside = _outside(seen, centre, radius).nonzero()[:, 0]
    for _ in range(_BISECTIONS if len(outside) else 0):
        middle = (fits[outside] + fails[outside]) / 2
        shorter = rounded(centre[outside] + middle.view(-1, 1, 1, 1) * change[outside], levels)
        long = _outside(shorter, centre[outside], radius)
        fails[outside[long]], fits[outside[~long]] = middle[long], middle[~long]
    if len(outside):
        seen[outside] = rounded(centre[outside] + fits[outside].view(-1, 1, 1, 1) * change[outside], levels)
    return seen + (pixels - pixels.detach())


def _outside(pixels: Tensor, centre: Tensor, radius: float) -> Tensor:
    return (pixels - centre).flatten(1).norm(dim=1) > radius * (1 + 1e-6)


def whole_levels(radius: float, levels: int) -> float:
    """The largest Linf radius up to `radius` that an image on the grid can use.

    Raises:
        DeepscopeError: it is less than one level.
    """
    if not levels:
        return radius
    steps = math.floor(radius * (levels - 1) + 1e-6)
    if steps < 1:
        raise DeepscopeError(
            f"radius {radius:g} is below one level of a saved image (1/{levels - 1}): give more, or 0 levels"
        )
    return steps / (levels - 1)
