"""Virtual adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.adaptation.adaptation import Adaptation, Seen
from deepscope.adaptation.domain_norm import TARGET
from deepscope.adaptation.entropy import entropy


@dataclass(frozen=True)
class VirtualAdversarial(Adaptation):
    """Penalise changes of target predictions in the direction in which they change most.

    Miyato et al., "Virtual Adversarial Training", 2018; with entropy minimisation it is the target's part of VADA
    (Shu et al., "A DIRT-T Approach to Unsupervised Domain Adaptation", 2018).

    Attributes:
        weight: of the divergence.
        radius: L2 norm of the change, in the units of the network's input.
        probe: L2 norm of the change by which the direction is found.
        iterations: of the power method.
        entropy: weight of the predictions' entropy.
    """

    weight: float = 0.1
    radius: float = 1.0
    probe: float = 1e-2
    iterations: int = 1
    entropy: float = 0.1

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """KL divergence between the predictions at the target and beside it, and their entropy."""
        del own
        inputs, before = seen.target.inputs, seen.target.logits.detach()
        noise = torch.randn(inputs.shape, generator=seen.moment.rng("virtual adversarial"))
        direction = _unit(noise.to(inputs))
        for _ in range(self.iterations):
            direction.requires_grad_()
            _, logits = seen.network(inputs + self.probe * direction, TARGET)
            (gradient,) = torch.autograd.grad(divergence(before, logits), direction)
            direction = _unit(gradient)
        _, logits = seen.network(inputs + self.radius * direction, TARGET)
        change, uncertainty = divergence(before, logits), entropy(seen.target.logits)
        return self.weight * change + self.entropy * uncertainty, {"divergence": change, "entropy": uncertainty}


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """The mean KL divergence from the first logits' softmax to the second's: (N, C), (N, C) -> scalar, in nats."""
    logs = before.log_softmax(1), after.log_softmax(1)
    return functional.kl_div(logs[1], logs[0], reduction="batchmean", log_target=True)


def _unit(direction: Tensor) -> Tensor:
    return functional.normalize(direction.detach().flatten(1)).view_as(direction)
