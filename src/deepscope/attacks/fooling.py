"""The source's fooling images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import LinfBall, Normalised, ascend
from deepscope.attacks.attack import Attack, Norm, require_positive
from deepscope.attacks.goals import Goal
from deepscope.attacks.grid import rounded, whole_levels
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count, LinfRadius, Positive


@dataclass(frozen=True)
class Fooling(Attack):
    """Normalised gradient steps on a class's logit until the prediction changes (Szegedy et al. 2014).

    Attributes:
        learning_rate: Euclidean length of a step, pixels in [0, 1].
        steps: steps before giving up.
        largest: largest change of a channel, pixels in [0, 1]; 1 sets no limit, which is the source's naive way.
        levels: grey levels of the saved image; 0 leaves pixels between levels.
    """

    norm: ClassVar[Norm] = "l2"
    learning_rate: Positive = 0.25
    steps: Count = 100
    largest: LinfRadius = 4 / 255
    levels: int = 256

    def __post_init__(self) -> None:
        require_positive(learning_rate=self.learning_rate, steps=self.steps, largest=self.largest)

    def __call__(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """Perturbed pixels; nothing is random."""

        rescaled = Rescaled(pixels)

        def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            logits = model(rounded(points, self.levels))
            return goal[rows].logit(rescaled(logits, rows)), logits

        found, ball = pixels.clone(), LinfBall(pixels, whole_levels(self.largest, self.levels))
        for state in ascend(score, pixels, move=Normalised(self.learning_rate), project=ball, steps=self.steps):
            found[state.rows] = rounded(state.points, self.levels)
            state.finish(goal[state.rows].reached(state.outputs))
        return found
