"""Correlation alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from deepscope.adaptation.adaptation import Adaptation, Seen
from deepscope.adaptation.networks import full


@dataclass(frozen=True)
class Coral(Adaptation):
    """Give the domains' features the same covariance (Sun and Saenko, "Deep CORAL", 2016).

    Attributes:
        weight: of the squared distance of the covariances.
    """

    weight: float = 1.0

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The covariances' distance."""
        del own
        value = distance(full(seen.source.features), full(seen.target.features), seen.weights)
        return self.weight * value, {"covariance-distance": value}


def distance(first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
    """|C1 - C2|^2 / (4 D^2), Frobenius norm, of the covariances of (N, D), with weights (N,), and (M, D)."""
    width = first.shape[1]
    return (first.T.cov(aweights=weights) - second.T.cov()).square().sum() / (4 * width**2)
