"""The fooling images of the report (Delefosse and Vin 2024, *Deep learning applications*)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import LinfBall, Normalised, ascend
from deepscope.attacks.base import Attack, Norm
from deepscope.attacks.criteria import Criterion
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
        largest: largest change of a channel, pixels in [0, 1]; 1 sets no limit, which is the report's naive method.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    norm: ClassVar[Norm] = "l2"
    learning_rate: Positive = 0.25
    steps: Count = 100
    largest: LinfRadius = 4 / 255
    levels: int = 256

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels; nothing is random."""

        rescaled = Rescaled(pixels)

        def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            logits = model(rounded(points, self.levels))
            return criterion[rows].logit(rescaled(logits, rows)), logits

        found, ball = pixels.clone(), LinfBall(pixels, whole_levels(self.largest, self.levels, "largest"))
        for state in ascend(score, pixels, update_rule=Normalised(self.learning_rate), project=ball, steps=self.steps):
            found[state.rows] = rounded(state.points, self.levels)
            state.finish(criterion[state.rows].met(state.outputs))
        return found
