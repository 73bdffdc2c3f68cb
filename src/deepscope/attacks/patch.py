"""A printed patch that makes a network see its target wherever the patch lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.ascent import Box, Momentum, Sign, Streams, ascend, cosine
from deepscope.attacks.attack import Norm, Shared, require_positive
from deepscope.attacks.goals import Goal
from deepscope.attacks.grid import rounded
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive, PositiveShare


@dataclass(frozen=True)
class Patch(Shared):
    """A square learnt over random places, sizes and turns (Brown et al. 2018, arXiv:1712.09665; Athalye et al. 2018).

    Attributes:
        area: part of the image that the patch covers at its mean size.
        steps: gradient steps.
        batch: images of a step, each with its own place, size and turn.
        step_size: length of the first step, pixels in [0, 1]; steps shorten to nothing along a cosine.
        momentum: what is kept of the gradients before. In equal steps, signs of their sum get further than Adam.
        rotation: largest turn to either side, in degrees.
        scale: largest change of the patch's side, as a part of it.
    """

    norm: ClassVar[Norm] = "l0"
    area: PositiveShare = 0.05
    steps: Count = 400
    batch: Count = 8
    step_size: Positive = 0.03
    momentum: float = 0.9
    rotation: float = 20.0
    scale: float = 0.1

    def __post_init__(self) -> None:
        require_positive(area=self.area, steps=self.steps, batch=self.batch, step_size=self.step_size)

    def fit(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """The patch (1, 3, S, S) learnt from (N, 3, H, W) pixels."""
        side = max(1, int((self.area * pixels.shape[2] * pixels.shape[3]) ** 0.5))  # never more than `area`
        rescaled = Rescaled(pixels)

        def score(points: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            rows = torch.randint(len(pixels), (self.batch,), generator=rng).to(pixels.device)
            logits = model(self.apply(points, pixels[rows], rng=rng))
            return goal[rows].cross_entropy(rescaled(logits, rows)).mean()[None], logits[None]

        patch = pixels.new_full((1, 3, side, side), 0.5)
        move = Momentum(Sign(cosine(self.step_size, self.steps)), decay=self.momentum)
        for state in ascend(score, patch, move=move, project=Box(), steps=self.steps):
            patch = state.points
        return rounded(patch)

    def apply(self, perturbation: Tensor, pixels: Tensor, *, rng: torch.Generator) -> Tensor:
        """Pixels with the patch at a random place, size and turn, always whole inside the image."""
        rows = torch.arange(len(pixels), device=pixels.device)
        drawn = Streams.split(rng, len(pixels)).uniform(rows, 4, low=-1, high=1).to(pixels)
        height, width = pixels.shape[2:]
        side = perturbation.shape[-1] * (1 + self.scale * drawn[:, 0])
        turn = math.radians(self.rotation) * drawn[:, 1]
        reach = side / 2 * (turn.cos().abs() + turn.sin().abs())  # half the turned square's extent
        x, y = drawn[:, 2] * (width / 2 - reach).clamp_min(0), drawn[:, 3] * (height / 2 - reach).clamp_min(0)
        # maps the image's coordinates in [-1, 1] to the patch's: shift, turn back, scale
        cosine, sine = turn.cos() / (side / 2), turn.sin() / (side / 2)
        across = torch.stack([cosine * width / 2, sine * height / 2, -(cosine * x + sine * y)], 1)
        down = torch.stack([-sine * width / 2, cosine * height / 2, sine * x - cosine * y], 1)
        grid = functional.affine_grid(torch.stack([across, down], 1), list(pixels.shape), align_corners=False)
        inside = (grid.abs() <= 1).all(-1)[:, None]
        laid = functional.grid_sample(
            perturbation.expand(len(pixels), -1, -1, -1), grid, padding_mode="border", align_corners=False
        )
        return torch.where(inside, laid, pixels).clamp(0, 1)
