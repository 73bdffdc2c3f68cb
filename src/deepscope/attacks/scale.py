"""The scale of logits: an attack's loss must not depend on a network's temperature."""

from __future__ import annotations

import torch
from torch import Tensor

SPREAD = 10.0
"""The distance from the largest rescaled logit to the mean of the others.

The medians over 40 photographs are 10.1 for EfficientNet-Lite0 and 23.8 for SqueezeNet 1.0.
"""
SHARP = 20.0
"""The same for minimal changes, which depend on the nearest class only.

Compared with unscaled logits, DDN's changes are then 7 % shorter for EfficientNet-Lite0 and as short for SqueezeNet. At
10 they are 17 % longer for SqueezeNet. To reach a target with high confidence, the sharper loss is worse.
"""


class Rescaled:
    """The logits of each image times its own constant, so that their spread is the same in every network.

    Cross-entropy saturates where logits are large: its gradient underflows, and attacks fail on a network that is no
    more robust (Carlini and Wagner 2016, arXiv:1607.04311). A factor common to all logits of an image changes no
    prediction. It is chosen when the image is first seen, so that losses can be compared along a search, and again
    only when the spread has more than doubled: no logit ever leads by much more than twice the aim.

    Args:
        pixels: (N, ...) the images under attack.
        aim: distance from the largest rescaled logit to the mean of the others.
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
    """(N, C) -> (N,) the largest logit minus the mean of the others; 0 where one is not finite or is the only one."""
    top = logits.amax(1)
    others = (logits.sum(1) - top) / max(1, logits.shape[1] - 1)
    return (top - others).nan_to_num(0.0, 0.0, 0.0)
