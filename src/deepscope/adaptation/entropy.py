"""Entropy minimisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from deepscope.adaptation.adaptation import Adaptation, Seen


@dataclass(frozen=True)
class EntropyMinimisation(Adaptation):
    """Make predictions on the target confident (Grandvalet and Bengio 2005).

    Attributes:
        weight: of the mean entropy, in nats.
    """

    weight: float = 0.1

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The mean entropy of the target's predictions."""
        del own
        value = entropy(seen.target.logits)
        return self.weight * value, {"entropy": value}


def entropy(logits: Tensor) -> Tensor:
    """The mean over rows of the softmax's entropy, in nats: (N, C) -> scalar."""
    log = logits.log_softmax(1)
    return -(log.exp() * log).sum(1).mean()
