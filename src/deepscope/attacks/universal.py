"""One small change that misleads a network on most images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import Box, Momentum, Sign, ascend, cosine
from deepscope.attacks.base import Bounded, Norm, Shared, seeded
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import rounded, whole_levels
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count, LinfRadius, Positive


@dataclass(frozen=True)
class Universal(Bounded, Shared):
    """Projected ascent of the mean, capped loss over images (Moosavi-Dezfooli et al. 2017; Shafahi et al. 2020).

    Attributes:
        radius: largest change of a channel, pixels in [0, 1].
        steps: gradient steps.
        batch: images per step.
        step_size: length of the first step as a share of the radius; steps shorten to 0 along a cosine.
        momentum: decay of the summed gradients, whose signs are the steps.
        cap: cross-entropy of rescaled logits above which an image has no gradient.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    norm: ClassVar[Norm] = "linf"
    radius: LinfRadius = 10 / 255
    steps: Count = 200
    batch: Count = 8
    step_size: Positive = 0.2
    momentum: float = 0.9
    cap: float = 9.0
    levels: int = 256

    def fit(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """The change (1, 3, H, W), in [-radius, radius], learnt from (N, 3, H, W) pixels."""
        rng, radius, rescaled = seeded(rng), whole_levels(self.radius, self.levels), Rescaled(pixels)

        def score(points: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            rows = torch.randint(len(pixels), (self.batch,), generator=rng).to(pixels.device)
            logits = model((pixels[rows] + points).clamp(0, 1))
            return criterion[rows].cross_entropy(rescaled(logits, rows)).clamp_max(self.cap).mean()[None], logits[None]

        change = torch.zeros_like(pixels[:1])
        update_rule = Momentum(Sign(cosine(self.step_size * radius, self.steps)), decay=self.momentum)
        project = Box(-radius, radius)
        for state in ascend(score, change, update_rule=update_rule, project=project, steps=self.steps):
            change = state.points
        return rounded(change, self.levels)

    def apply(self, perturbation: Tensor, pixels: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Pixels with the change added; nothing is random."""
        return (pixels + perturbation).clamp(0, 1)
