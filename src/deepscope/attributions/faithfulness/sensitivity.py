"""Maximum sensitivity: how much a map changes when the image changes a little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import image_seeds
from deepscope.attributions.faithfulness.measure import Explanation, Measure
from deepscope.settings import Count, PositiveShare


@dataclass(frozen=True)
class MaxSensitivity(Measure):
    """Largest relative change of the map over random small changes of the image; small is stable.

    All maps are at the method's bounded cost (`Explanation.comparable`).

    Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations".

    Attributes:
        radius: largest change of a pixel, of its range of 1.
        samples: random changes tried.
    """

    higher_is_better: ClassVar[bool] = False

    radius: PositiveShare = 0.02
    samples: Count = 2

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) largest ||changed map - map|| / ||map||; 0 where both maps are empty."""
        pixels, maps = given.pixels, given.comparable
        size = maps.flatten(1).norm(dim=1)
        largest = torch.zeros_like(size)
        for seeds in image_seeds(len(pixels), self.samples, given.rng).T.tolist():
            noise = [torch.rand(pixels.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            moved = given.explain(pixels + self.radius * (2 * torch.stack(noise).to(pixels) - 1))
            largest = torch.maximum(largest, (moved - maps).flatten(1).norm(dim=1))
        return torch.where(largest == 0, 0.0, largest / size)
