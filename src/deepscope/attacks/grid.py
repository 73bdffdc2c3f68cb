"""The grid of values that an 8-bit image can hold. Changes smaller than its spacing are lost on saving."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from deepscope.errors import SettingError

_BISECTIONS = 12


def rounded(pixels: Tensor, levels: int = 256) -> Tensor:
    """Pixels in [0, 1], rounded to the nearest of `levels` values; the gradient is that of the identity.

    With it, the network sees during an attack what it will see in the saved image. 0 levels do not round.
    """
    if not levels:
        return pixels
    snapped = (pixels.detach() * (levels - 1)).round() / (levels - 1)
    return snapped + (pixels - pixels.detach())  # adds 0 exactly, and the gradient


def rounded_within(
    pixels: Tensor, centre: Tensor, radius: float, levels: int = 256, norm: Literal["l1", "l2"] = "l2"
) -> Tensor:
    """`rounded`, with every row's change from `centre` shortened until it is no longer than `radius` when rounded.

    A change that is spread thinly over an image can double in length when each channel is rounded to the next level.
    Of a shortened change, only the channels that changed most are still rounded away from the original.

    Args:
        pixels, centre: (N, 3, H, W) in [0, 1]; the centre is on the grid.
        radius: length, pixels in [0, 1].
        levels: see `rounded`.
        norm: in which the radius is measured.
    """
    change = pixels.detach() - centre
    fits, fails = change.new_zeros(len(change)), change.new_ones(len(change))
    seen = rounded(pixels.detach(), levels)
    outside = _outside(seen, centre, radius, norm).nonzero()[:, 0]
    for _ in range(_BISECTIONS if len(outside) else 0):
        middle = (fits[outside] + fails[outside]) / 2
        shorter = rounded(centre[outside] + middle.view(-1, 1, 1, 1) * change[outside], levels)
        long = _outside(shorter, centre[outside], radius, norm)
        fails[outside[long]], fits[outside[~long]] = middle[long], middle[~long]
    if len(outside):
        seen[outside] = rounded(centre[outside] + fits[outside].view(-1, 1, 1, 1) * change[outside], levels)
    return seen + (pixels - pixels.detach())


def _outside(pixels: Tensor, centre: Tensor, radius: float, norm: Literal["l1", "l2"]) -> Tensor:
    return (pixels - centre).flatten(1).norm(1 if norm == "l1" else 2, dim=1) > radius * (1 + 1e-6)


def whole_levels(radius: float, levels: int, setting: str = "radius") -> float:
    """The largest Linf radius up to `radius` that an image on the grid can use.

    Args:
        radius: largest change of a channel, pixels in [0, 1].
        levels: grey levels of the saved image; 0 for any value.
        setting: the field that holds the radius.

    Raises:
        SettingError: it is less than one level.
    """
    if not levels:
        return radius
    steps = math.floor(radius * (levels - 1) + 1e-6)
    if steps < 1:
        problem = f"must be at least 1/{levels - 1}, one level of the saved image, unless {{levels}} is 0"
        raise SettingError(setting, problem, got=radius)
    return steps / (levels - 1)
