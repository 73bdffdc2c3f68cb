"""DDN: the smallest Euclidean change, by steps whose length is decoupled from their direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import L2Ball, Normalised, ascend, cosine
from deepscope.attacks.attack import Attack, Norm, distance, require_positive
from deepscope.attacks.best import Best
from deepscope.attacks.goals import Goal
from deepscope.attacks.grid import rounded
from deepscope.attacks.scale import SHARP, Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive


@dataclass(frozen=True)
class DDN(Attack):
    """Walks on a sphere that shrinks while the goal is reached, else grows (Rony et al. 2019, arXiv:1811.09600).

    Attributes:
        steps: gradient steps.
        initial: first radius, Euclidean, pixels in [0, 1].
        gamma: part by which the radius shrinks or grows at each step.
        levels: grey levels of the saved image; 0 leaves pixels between levels.
    """

    norm: ClassVar[Norm] = "l2"
    steps: Count = 100
    initial: Positive = 1.0
    gamma: float = 0.05
    levels: int = 256

    def __post_init__(self) -> None:
        require_positive(steps=self.steps, initial=self.initial, gamma=self.gamma)

    def __call__(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """Perturbed pixels; nothing is random."""

        rescaled = Rescaled(pixels, SHARP)

        def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            logits = model(rounded(points, self.levels))
            return goal[rows].cross_entropy(rescaled(logits, rows)), logits

        falling = cosine(0.99, self.steps)
        best = Best(pixels)
        radius = pixels.new_full((len(pixels),), self.initial)
        sphere = L2Ball(pixels, radius, surface=True)  # sees the radius change below
        for state in ascend(
            score, pixels, move=Normalised(lambda state: 0.01 + falling(state)), project=sphere, steps=self.steps
        ):
            reached = goal.reached(state.outputs)
            seen = rounded(state.points, self.levels)
            best.offer(state.rows, seen, torch.where(reached, -distance(seen, pixels, "l2"), -torch.inf))
            radius *= torch.where(reached, 1 - self.gamma, 1 + self.gamma)
        return best.points
