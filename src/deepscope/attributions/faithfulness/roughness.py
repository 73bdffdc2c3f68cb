"""Roughness: how much a map jumps from pixel to pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from deepscope.attributions.faithfulness.measure import Explanation, Measure


@dataclass(frozen=True)
class Roughness(Measure):
    """Total variation of the map over its total absolute value: visual noise; small is smooth.

    Rudin, Osher and Fatemi 1992, "Nonlinear total variation based noise removal algorithms".
    """

    higher_is_better: ClassVar[bool] = False

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) 0 for a flat map; about 1.3 for independent uniform noise; NaN for an empty map."""
        maps = given.maps
        variation = maps.diff(dim=1).abs().sum((1, 2)) + maps.diff(dim=2).abs().sum((1, 2))
        return variation / maps.abs().sum((1, 2))
