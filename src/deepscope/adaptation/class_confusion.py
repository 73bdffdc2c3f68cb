"""Minimum class confusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from deepscope.adaptation.adaptation import Adaptation, Seen
from deepscope.settings import Positive


@dataclass(frozen=True)
class MinimumClassConfusion(Adaptation):
    """Make the classes that the network predicts for a batch of target images confuse each other less.

    Jin et al., "Minimum Class Confusion for Versatile Domain Adaptation", ECCV 2020. It aligns no features, so it also
    suits targets in which some of the source's classes are missing.

    Attributes:
        temperature: the logits are divided by it; above 1 it keeps classes of small probability in view.
        weight: of the loss.
    """

    temperature: Positive = 2.5
    weight: float = 1.0

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The confusion of the target's part of the batch."""
        del own
        value = confusion(seen.target.logits, self.temperature)
        return self.weight * value, {"class-confusion": value}


def confusion(logits: Tensor, temperature: float) -> Tensor:
    """Mean share of a class's probability that falls on images of other classes: (N, C) logits -> scalar.

    Images with certain predictions count for more; no gradient passes through these weights.
    """
    probabilities = (logits / temperature).softmax(1)
    weights = certainty(probabilities)
    together = (probabilities * weights[:, None]).T @ probabilities
    shares = together / together.sum(1, keepdim=True).clamp(min=1e-12)
    return 1 - shares.trace() / len(shares)


def certainty(probabilities: Tensor) -> Tensor:
    """Weights (N,) of mean 1 that fall with the entropy of (N, C) probabilities, 1 + exp(-H); without a gradient."""
    fixed = probabilities.detach()
    weights = 1 + (fixed * fixed.clamp(min=1e-12).log()).sum(1).exp()
    return weights / weights.mean()
