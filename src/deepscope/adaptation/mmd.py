"""Maximum mean discrepancy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepscope.adaptation.adaptation import Adaptation, Seen
from deepscope.adaptation.networks import full


@dataclass(frozen=True)
class MaximumMeanDiscrepancy(Adaptation):
    """Give the domains' features the same distribution, as measured by Gaussian kernels.

    Gretton et al., "A Kernel Two-Sample Test", 2012; Long et al., "Deep Adaptation Networks", 2015.

    Attributes:
        weight: of the squared discrepancy.
    """

    weight: float = 1.0

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The squared discrepancy of the features."""
        del own
        value = discrepancy(full(seen.source.features), full(seen.target.features), seen.weights)
        return self.weight * value, {"discrepancy": value}


def discrepancy(
    first: Tensor,
    second: Tensor,
    weights: Tensor | None = None,
    *,
    scales: Sequence[float] = (0.25, 0.5, 1, 2, 4),
) -> Tensor:
    """The squared discrepancy (biased estimate, never negative) of two samples, (N, D) with weights (N,), and (M, D).

    The kernel is the mean of Gaussians exp(-d / (s m)) of the squared distance d, where m is the mean squared
    distance of the joined sample, a constant for the gradient.
    """
    joined = torch.cat([first, second])
    squares = torch.cdist(joined, joined, compute_mode="use_mm_for_euclid_dist").square()
    mean = squares.detach().mean().clamp(min=1e-12)
    kernel = torch.stack([(-squares / (scale * mean)).exp() for scale in scales]).mean(0)
    shares = torch.ones_like(kernel[: len(first), 0]) if weights is None else weights
    signed = torch.cat([shares / shares.sum(), torch.full_like(kernel[0, len(first) :], -1 / len(second))])
    return (signed[:, None] * kernel * signed).sum()
