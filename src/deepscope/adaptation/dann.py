"""Domain-adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.adaptation.adaptation import Adaptation, Seen
from deepscope.adaptation.gradient_reversal import ramp, reverse
from deepscope.adaptation.networks import DomainNetwork, full


@dataclass(frozen=True)
class Dann(Adaptation):
    """A domain classifier on the features, with a reversed gradient (Ganin and Lempitsky 2015).

    Attributes:
        factor: of the reversal, at most; 0 trains the domain classifier without any effect on the features.
        schedule: "ramp" lets the factor rise from 0 as in the paper; "constant" does not.
        reversal: without it, the features learn to tell the domains apart.
        hidden: units of the domain classifier's one hidden layer.
    """

    factor: float = 1.0
    schedule: Literal["ramp", "constant"] = "ramp"
    reversal: bool = True
    hidden: int = 100

    def begin(self, network: DomainNetwork) -> nn.Module:
        """The domain classifier."""
        return nn.Sequential(nn.Linear(network.width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Binary cross-entropy of the domain; also its accuracy and the factor."""
        factor = self.factor * (ramp(seen.moment.progress) if self.schedule == "ramp" else 1.0)
        features = torch.cat([seen.source.features, seen.target.features])
        logits = full(own(reverse(features, factor if self.reversal else -factor))).squeeze(1)
        domains = torch.zeros_like(logits)
        domains[len(seen.source.features) :] = 1
        loss = functional.binary_cross_entropy_with_logits(logits, domains, weights_of_both(seen))
        right = ((logits > 0) == (domains > 0)).float()
        accuracy = (right[domains == 0].mean() + right[domains == 1].mean()) / 2
        return loss, {"loss/domain": loss, "domain/accuracy": accuracy, "domain/factor": logits.new_tensor(factor)}


def weights_of_both(seen: Seen) -> Tensor | None:
    """(N + M,) weights of the source's images, and 1 for the target's; None where all count alike."""
    if seen.weights is None:
        return None
    return torch.cat([seen.weights, torch.ones_like(seen.target.logits[:, 0], dtype=seen.weights.dtype)])
