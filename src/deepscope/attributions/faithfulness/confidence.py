"""Average drop and increase in confidence when the image is masked by the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.faithfulness.measure import Explanation, Measure, probabilities


@dataclass(frozen=True)
class AverageDrop(Measure):
    """Share of the class's probability that is lost when the image is dimmed by the map; small is faithful.

    Chattopadhay et al. 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations".
    """

    higher_is_better: ClassVar[bool] = False

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) losses in [0, 1]; an image that gains loses 0."""
        whole, dimmed = _whole_and_dimmed(given)
        return ((whole - dimmed) / whole).clamp_min(0)


@dataclass(frozen=True)
class Increase(Measure):
    """Whether the class becomes more probable when the image is dimmed by the map; often is faithful.

    Chattopadhay et al. 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations".
    """

    higher_is_better: ClassVar[bool] = True

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) 1 where it does, else 0."""
        whole, dimmed = _whole_and_dimmed(given)
        return (dimmed > whole).to(given.pixels)


def _whole_and_dimmed(given: Explanation) -> tuple[Tensor, Tensor]:
    """(N,) probabilities of the class on the image, and on the image times its map scaled to [0, 1].

    Negative values hide their pixel, as zeros do. If they took part in the scaling, a signed map would leave half of
    every pixel visible and appear faithful.
    """
    maps, smallest = given.maps.clamp_min(0), torch.finfo(given.maps.dtype).tiny
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)

    def seen() -> Tensor:
        return probabilities(given, given.pixels * ((maps - low) / (high - low).clamp_min(smallest))[:, None])

    return given.of_images("whole", lambda: probabilities(given, given.pixels)), given.of_maps("dimmed", seen)
