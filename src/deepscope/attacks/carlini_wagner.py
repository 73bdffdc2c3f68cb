"""Carlini and Wagner's attack: the smallest Euclidean change by Adam, in a space without borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import Adam, anywhere, ascend
from deepscope.attacks.attack import Attack, Norm, distance, require_positive
from deepscope.attacks.best import Best
from deepscope.attacks.goals import Goal
from deepscope.attacks.grid import rounded
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive


@dataclass(frozen=True)
class CarliniWagner(Attack):
    """Weighs distance against margin, the weight found by bisection (Carlini and Wagner 2017, arXiv:1608.04644).

    Attributes:
        steps: gradient steps for each weight.
        searches: weights tried for each image.
        weight: the first of them.
        learning_rate: Adam's, in the space of arctanh of the pixels.
        confidence: margin of logits asked for, of logits whose largest lies 10 above the mean of the others.
        levels: grey levels of the saved image; 0 leaves pixels between levels.
    """

    norm: ClassVar[Norm] = "l2"
    steps: Count = 100
    searches: Count = 6
    weight: Positive = 0.1
    learning_rate: Positive = 0.01
    confidence: float = 0.0
    levels: int = 256

    def __post_init__(self) -> None:
        require_positive(steps=self.steps, searches=self.searches, weight=self.weight, learning_rate=self.learning_rate)

    def __call__(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """Perturbed pixels; nothing is random."""
        weight = pixels.new_full((len(pixels),), self.weight)
        low, high = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
        start, rescaled = _free(pixels), Rescaled(pixels)

        def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            changed = rounded(_pixels(points), self.levels)
            logits = rescaled(model(changed), rows)
            missing = (self.confidence - goal[rows].margin(logits)).clamp_min(0)
            return -(changed - pixels[rows]).square().flatten(1).sum(1) - weight[rows] * missing, logits

        best = Best(pixels)
        for _ in range(self.searches):
            ever = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
            for state in ascend(score, start, move=Adam(self.learning_rate), project=anywhere, steps=self.steps):
                aims, seen = goal[state.rows], rounded(_pixels(state.points), self.levels)
                reached = aims.reached(state.outputs) & (aims.margin(state.outputs) >= self.confidence)
                ever[state.rows] |= reached
                best.offer(
                    state.rows, seen, torch.where(reached, -distance(seen, pixels[state.rows], "l2"), -torch.inf)
                )
            low, high = torch.where(ever, low, weight), torch.where(ever, weight, high)
            weight = torch.where(high.isinf(), weight * 10, (low + high) / 2)
        return best.points


def _free(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] -> any real number."""
    return torch.atanh((2 * pixels - 1) * (1 - 1e-6))


def _pixels(free: Tensor) -> Tensor:
    return (torch.tanh(free) / (1 - 1e-6) + 1).div(2).clamp(0, 1)
