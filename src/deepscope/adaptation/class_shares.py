"""The classes that a target seems to have, for targets that lack some of the source's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_DECAY = 0.9


class ClassShares(nn.Module):
    """How often the target's predictions name each class, as weights of the source's images.

    Cao et al., "Partial Adversarial Domain Adaptation", ECCV 2018: an image of a class that the target seems to lack
    counts for little, in the cross-entropy and wherever the domains are compared. The shares are a moving average over
    batches of the mean prediction; they start equal.
    """

    shares: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("shares", torch.full((classes,), 1 / classes))

    @torch.no_grad()
    def update(self, logits: Tensor) -> None:
        """Take in the target's part (M, C) of a batch."""
        self.shares.lerp_(logits.softmax(1).mean(0).to(self.shares), 1 - _DECAY)

    def weights(self, labels: Tensor) -> Tensor:
        """(N,) weights of images of these classes; the most frequent class has 1."""
        return (self.shares / self.shares.max())[labels]
