"""The scale of logits: what an attack climbs must not depend on a network's temperature."""

from __future__ import annotations

import torch
from torch import Tensor

SPREAD = 10.0
"""How far the largest logit is put above the mean of the others.

The medians over 40 photographs are 10.1 for EfficientNet-Lite0 and 23.8 for SqueezeNet 1.0.
"""
SHARP = 20.0
"""The same for the smallest change, which depends on the nearest class alone.

DDN's changes are then 7 % shorter for EfficientNet-Lite0 and as short for SqueezeNet as on their own logits. At 10 they
are 17 % longer for SqueezeNet. Where a target is to be reached with certainty, the sharper loss is the worse one.
"""


class Rescaled:
    """The logits of each image times a constant of its own, so that they spread alike in every network.

    Cross-entropy saturates where logits are large: its gradient underflows, and attacks fail on a network that is no
    more robust (Carlini and Wagner 2016, arXiv:1607.04311). A factor common to all logits of an image changes no
    prediction. It is chosen where the image is first seen, so that losses along a search can be compared, and chosen
    again only where logits spread more than twice as far: no logit ever leads by much more than twice the aim.

    Args:
        pixels: (N, ...) the images under attack.
        aim: how far the largest logit is put above the mean of the others.
    """

    def __init__(self, pixels: Tensor, aim: float = SPREAD) -> None:
        self.aim = aim
        self._spread = pixels.new_zeros(len(pixels))

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """(n, C) logits of the images in the given rows (n,), which may repeat -> the same, rescaled."""
        found = spread(logits.detach()).to(self._spread)
        found = torch.zeros_like(self._spread).scatter_reduce(0, rows, found, "amax")
        self._spread = torch.where(found > 2 * self._spread, found, self._spread)
        seen = self._spread[rows]
        factor = torch.where(seen > self.aim * torch.finfo(seen.dtype).tiny, self.aim / seen, 1.0)
        return logits * factor.to(logits)[:, None]


def spread(logits: Tensor) -> Tensor:
    """(N, C) -> (N,) the largest logit less the mean of the others; 0 where a logit is not finite, or the only one."""
    top = logits.amax(1)
    others = (logits.sum(1) - top) / max(1, logits.shape[1] - 1)
    return (top - others).nan_to_num(0.0, 0.0, 0.0)
