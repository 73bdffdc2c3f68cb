"""DDN: the smallest Euclidean change, by steps whose length is decoupled from their direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import L2Ball, Normalised, ascend, cosine
from deepscope.attacks.base import Attack, Norm, distance
from deepscope.attacks.best import Best
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import rounded
from deepscope.attacks.scale import SHARP, Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive


@dataclass(frozen=True)
class DDN(Attack):
    """Steps on a sphere that shrinks after success and grows after failure (Rony et al. 2019, arXiv:1811.09600).

    Attributes:
        steps: gradient steps.
        initial: first radius, Euclidean, pixels in [0, 1].
        gamma: share by which the radius shrinks or grows at each step.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    norm: ClassVar[Norm] = "l2"
    steps: Count = 100
    initial: Positive = 1.0
    gamma: Positive = 0.05
    levels: int = 256

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels; nothing is random."""

        rescaled = Rescaled(pixels, SHARP)

        def score(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            logits = model(rounded(points, self.levels))
            return criterion[rows].cross_entropy(rescaled(logits, rows)), logits

        falling = cosine(0.99, self.steps)
        best = Best(pixels)
        radius = pixels.new_full((len(pixels),), self.initial)
        sphere = L2Ball(pixels, radius, surface=True)  # shares the tensor that changes below
        for state in ascend(
            score, pixels, update_rule=Normalised(lambda state: 0.01 + falling(state)), project=sphere, steps=self.steps
        ):
            met = criterion.met(state.outputs)
            seen = rounded(state.points, self.levels)
            best.offer(state.rows, seen, torch.where(met, -distance(seen, pixels, "l2"), -torch.inf))
            radius *= torch.where(met, 1 - self.gamma, 1 + self.gamma)
        return best.points
