"""Average drop and increase in confidence: what the network says when it sees only what the map shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.engine import batches, probability
from deepscope.attributions.faithfulness.measure import Explain, Measure
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class AverageDrop(Measure):
    """Share of the class's probability that is lost when the image is dimmed by the map; small is faithful.

    Chattopadhay et al. 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations".
    """

    higher_is_better: ClassVar[bool] = False

    def __call__(
        self,
        model: VisionModel,
        pixels: Tensor,
        target: Tensor,
        maps: Tensor,
        *,
        explain: Explain,
        rng: torch.Generator,
    ) -> Tensor:
        """(N,) losses in [0, 1]; an image that gains loses 0."""
        whole, dimmed = _probabilities(model, pixels, target, maps)
        return ((whole - dimmed) / whole).clamp_min(0)


@dataclass(frozen=True)
class Increase(Measure):
    """Whether the class becomes more probable when the image is dimmed by the map; often is faithful.

    Chattopadhay et al. 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations".
    """

    higher_is_better: ClassVar[bool] = True

    def __call__(
        self,
        model: VisionModel,
        pixels: Tensor,
        target: Tensor,
        maps: Tensor,
        *,
        explain: Explain,
        rng: torch.Generator,
    ) -> Tensor:
        """(N,) 1 where it does, else 0."""
        whole, dimmed = _probabilities(model, pixels, target, maps)
        return (dimmed > whole).to(pixels)


def _probabilities(model: VisionModel, pixels: Tensor, target: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) probabilities of the class on the image, and on the image times its map scaled to [0, 1]."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    dimmed = pixels * ((maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny))[:, None]
    both = torch.cat([pixels, dimmed])
    twice = target.repeat(2)
    found = [part for _, part in batches(len(both), both.device, lambda r: probability(model, both[r], twice[r]))]
    whole, seen = torch.cat(found).chunk(2)
    return whole, seen
