"""Carlini and Wagner's attack: the smallest Euclidean change, found by Adam in an unbounded space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import Adam, anywhere, ascend
from deepscope.attacks.base import Attack, Norm, distance
from deepscope.attacks.best import Best
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import rounded
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive


@dataclass(frozen=True)
class CarliniWagner(Attack):
    """Minimises distance and margin, weighted by bisection (Carlini and Wagner 2017, arXiv:1608.04644).

    Attributes:
        steps: gradient steps per weight.
        searches: weights tried per image.
        weight: the first weight.
        learning_rate: Adam's, in the space of arctanh of the pixels.
        confidence: required margin of logits, rescaled so that the largest is 10 above the mean of the others.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    norm: ClassVar[Norm] = "l2"
    steps: Count = 100
    searches: Count = 6
    weight: Positive = 0.1
    learning_rate: Positive = 0.01
    confidence: float = 0.0
    levels: int = 256

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels; nothing is random."""
        weight = pixels.new_full((len(pixels),), self.weight)
        low, high = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
        start, rescaled = _free(pixels), Rescaled(pixels)

        def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            changed = rounded(_pixels(points), self.levels)
            logits = rescaled(model(changed), rows)
            missing = (self.confidence - criterion[rows].margin(logits)).clamp_min(0)
            return -(changed - pixels[rows]).square().flatten(1).sum(1) - weight[rows] * missing, logits

        best = Best(pixels)
        for _ in range(self.searches):
            ever = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
            for state in ascend(score, start, update_rule=Adam(self.learning_rate), project=anywhere, steps=self.steps):
                aims, seen = criterion[state.rows], rounded(_pixels(state.points), self.levels)
                met = aims.met(state.outputs) & (aims.margin(state.outputs) >= self.confidence)
                ever[state.rows] |= met
                best.offer(state.rows, seen, torch.where(met, -distance(seen, pixels[state.rows], "l2"), -torch.inf))
            low, high = torch.where(ever, low, weight), torch.where(ever, weight, high)
            weight = torch.where(high.isinf(), weight * 10, (low + high) / 2)
        return best.points


def _free(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] -> unbounded values."""
    return torch.atanh((2 * pixels - 1) * (1 - 1e-6))


def _pixels(free: Tensor) -> Tensor:
    return (torch.tanh(free) / (1 - 1e-6) + 1).div(2).clamp(0, 1)
