"""Square: random squares, kept where they help. It needs scores, no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.attacks.attack import Bounded, Norm, require_positive
from deepscope.attacks.goals import Goal
from deepscope.attacks.grid import rounded, whole_levels
from deepscope.models import VisionModel
from deepscope.settings import Count, LinfRadius, PositiveShare


@dataclass(frozen=True)
class Square(Bounded):
    """Random search over squares of the largest change that shrink (Andriushchenko et al. 2020, arXiv:1912.00049).

    Attributes:
        radius: largest change of a channel, pixels in [0, 1].
        queries: images that the network may be shown, for each image attacked.
        first: part of the image that the first squares cover.
        levels: grey levels of the saved image; 0 leaves pixels between levels.
    """

    norm: ClassVar[Norm] = "linf"
    exact: ClassVar[bool] = True  # a square changes the margin little: bfloat16 fools 0.71 of images, float32 0.97

    radius: LinfRadius = 8 / 255
    queries: Count = 1000
    first: PositiveShare = 0.05
    levels: int = 256

    def __post_init__(self) -> None:
        require_positive(radius=self.radius, queries=self.queries, first=self.first)

    @torch.no_grad()
    def __call__(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """Perturbed pixels."""
        radius, streams = whole_levels(self.radius, self.levels), Streams.split(rng, len(pixels))
        rows = torch.arange(len(pixels), device=pixels.device)
        channels, height, width = pixels.shape[1:]
        stripes = streams.integers(rows, 2, channels, 1, width).to(pixels) * 2 - 1
        best = rounded((pixels + radius * stripes).clamp(0, 1), self.levels)
        margin = goal.margin(model(best))
        for query in range(1, self.queries):
            rows = (margin <= 0).nonzero()[:, 0]
            if not len(rows):
                break
            side = max(1, round((self._part(query) * height * width) ** 0.5))
            side = min(side, height, width)
            tried = best[rows]
            corner = streams.uniform(rows, 2) * torch.tensor([height - side + 1, width - side + 1]).to(pixels)
            signs = streams.integers(rows, 2, channels, 1, 1).to(pixels) * 2 - 1
            for i, (top, left) in enumerate(corner.long().tolist()):
                window = (slice(None), slice(top, top + side), slice(left, left + side))
                tried[i][window] = (pixels[rows[i]][window] + radius * signs[i]).clamp(0, 1)
            tried = rounded(tried, self.levels)
            reached = goal[rows].margin(model(tried))
            better = reached > margin[rows]
            best[rows[better]], margin[rows[better]] = tried[better], reached[better]
        return best

    def _part(self, query: int) -> float:
        """The part of the image that a square covers: halved at the paper's points, scaled to our queries."""
        progress = query / self.queries * 10_000
        halvings = sum(progress > point for point in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
        return self.first / 2**halvings
