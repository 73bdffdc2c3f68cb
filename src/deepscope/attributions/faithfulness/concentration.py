"""Sparseness and complexity: on how few pixels a map rests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.faithfulness.measure import Explanation, Measure


@dataclass(frozen=True)
class Sparseness(Measure):
    """Gini index of the map's absolute values: 0 where all pixels are equal, near 1 where one has everything.

    Chalasani et al. 2020, "Concise Explanations of Neural Networks using Adversarial Training".
    """

    higher_is_better: ClassVar[bool] = True

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) values in [0, 1]; NaN for an empty map."""
        values = given.maps.abs().flatten(1).double().sort(1).values
        count = values.shape[1]
        weights = 2 * torch.arange(1, count + 1, device=values.device, dtype=values.dtype) - count - 1
        return (weights * values).sum(1) / (count * values.sum(1))


@dataclass(frozen=True)
class Complexity(Measure):
    """Entropy, in nats, of each pixel's share of the map's absolute value; small means few pixels.

    Bhatt, Weller and Moura 2020, "Evaluating and Aggregating Feature-based Model Explanations".
    """

    higher_is_better: ClassVar[bool] = False

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) values from 0 to the logarithm of the number of pixels; NaN for an empty map."""
        values = given.maps.abs().flatten(1).double()
        return torch.special.entr(values / values.sum(1, keepdim=True)).sum(1)
