"""The scale of logits: what an attack climbs must not depend on a network's temperature."""

from __future__ import annotations

import torch
from torch import Tensor

SPREAD = 20.0
"""How far the largest logit is put above the mean of the others.

The medians over 40 photographs are 10.1 for EfficientNet-Lite0 and 23.8 for SqueezeNet 1.0. Less is worse: at 10 DDN's
changes of SqueezeNet are 17 % longer than on its own logits, at 20 they are as short.
"""


class Rescaled:
    """The logits of each image times a constant of its own, so that they spread alike in every network.

    Cross-entropy saturates where logits are large: its gradient underflows, and attacks fail on a network that is no
    more robust (Carlini and Wagner 2016, arXiv:1607.04311). A factor common to all logits of an image changes no
    prediction. It is chosen where the image is first seen, so that losses along a search can be compared, and chosen
    again only where logits spread more than twice as far: no logit ever leads by more than 2 * SPREAD.

    Args:
        pixels: (N, ...) the images under attack.
    """

    def __init__(self, pixels: Tensor) -> None:
        self._spread = pixels.new_zeros(len(pixels))

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """(n, C) logits of the images in the given rows (n,), which may repeat -> the same, rescaled."""
        found = spread(logits.detach()).to(self._spread)
        found = torch.zeros_like(self._spread).scatter_reduce(0, rows, found, "amax")
        self._spread = torch.where(found > 2 * self._spread, found, self._spread)
        seen = self._spread[rows]
        factor = torch.where(seen > SPREAD * torch.finfo(seen.dtype).tiny, SPREAD / seen, 1.0)
        return logits * factor.to(logits)[:, None]


def spread(logits: Tensor) -> Tensor:
    """(N, C) -> (N,) the largest logit less the mean of the others; 0 where a logit is not finite, or the only one."""
    top = logits.amax(1)
    others = (logits.sum(1) - top) / max(1, logits.shape[1] - 1)
    return (top - others).nan_to_num(0.0, 0.0, 0.0)
