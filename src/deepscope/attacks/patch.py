"""A printed patch that makes a network predict the target wherever the patch is placed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.ascent import Box, Momentum, Sign, Streams, ascend, cosine
from deepscope.attacks.base import Norm, Shared, seeded
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import rounded
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive, PositiveShare


@dataclass(frozen=True)
class Patch(Shared):
    """A square learnt over places, sizes and rotations (Brown et al. 2018, arXiv:1712.09665; Athalye et al. 2018).

    Attributes:
        area: share of the image that the patch covers at its mean size.
        steps: gradient steps.
        batch: images per step, each with its own position, size and rotation.
        step_size: length of the first step, pixels in [0, 1]; steps shorten to 0 along a cosine.
        momentum: decay of the summed gradients. In the same number of steps, signs of the sum get further than Adam.
        rotation: largest rotation in either direction, in degrees.
        scale: largest change of the patch's side, as a share of it.
    """

    norm: ClassVar[Norm] = "l0"
    area: PositiveShare = 0.05
    steps: Count = 400
    batch: Count = 8
    step_size: Positive = 0.03
    momentum: float = 0.9
    rotation: float = 20.0
    scale: float = 0.1

    def fit(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """The patch (1, 3, S, S) learnt from (N, 3, H, W) pixels."""
        rng = seeded(rng)
        side = max(1, int((self.area * pixels.shape[2] * pixels.shape[3]) ** 0.5))  # at most `area`
        rescaled = Rescaled(pixels)

        def score(points: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            rows = torch.randint(len(pixels), (self.batch,), generator=rng).to(pixels.device)
            logits = model(self.apply(points, pixels[rows], rng=rng))
            return criterion[rows].cross_entropy(rescaled(logits, rows)).mean()[None], logits[None]

        patch = pixels.new_full((1, 3, side, side), 0.5)
        update_rule = Momentum(Sign(cosine(self.step_size, self.steps)), decay=self.momentum)
        for state in ascend(score, patch, update_rule=update_rule, project=Box(), steps=self.steps):
            patch = state.points
        return rounded(patch)

    def apply(self, perturbation: Tensor, pixels: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """Pixels with the patch at a random position, size and rotation, always entirely inside the image."""
        rows = torch.arange(len(pixels), device=pixels.device)
        drawn = Streams.split(seeded(rng), len(pixels)).uniform(rows, 4, low=-1, high=1).to(pixels)
        height, width = pixels.shape[2:]
        side = perturbation.shape[-1] * (1 + self.scale * drawn[:, 0])
        turn = math.radians(self.rotation) * drawn[:, 1]
        reach = side / 2 * (turn.cos().abs() + turn.sin().abs())  # half the rotated square's extent
        x, y = drawn[:, 2] * (width / 2 - reach).clamp_min(0), drawn[:, 3] * (height / 2 - reach).clamp_min(0)
        # maps the image's coordinates in [-1, 1] to the patch's: shift, rotate back, scale
        cosine, sine = turn.cos() / (side / 2), turn.sin() / (side / 2)
        across = torch.stack([cosine * width / 2, sine * height / 2, -(cosine * x + sine * y)], 1)
        down = torch.stack([-sine * width / 2, cosine * height / 2, sine * x - cosine * y], 1)
        grid = functional.affine_grid(torch.stack([across, down], 1), list(pixels.shape), align_corners=False)
        inside = (grid.abs() <= 1).all(-1)[:, None]
        laid = functional.grid_sample(
            perturbation.expand(len(pixels), -1, -1, -1), grid, padding_mode="border", align_corners=False
        )
        return torch.where(inside, laid, pixels).clamp(0, 1)
