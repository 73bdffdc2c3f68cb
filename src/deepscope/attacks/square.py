"""Square attack: random squares, kept where they improve the score. It needs no gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.attacks.base import Bounded, Norm, seeded
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import rounded, whole_levels
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, Needs
from deepscope.settings import Count, LinfRadius, PositiveShare


@dataclass(frozen=True)
class Square(Bounded):
    """Random search over shrinking squares of the largest change (Andriushchenko et al. 2020, arXiv:1912.00049).

    Attributes:
        radius: largest change of a channel, pixels in [0, 1].
        queries: images that the network may classify per image attacked.
        first: share of the image that the first squares cover.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    needs: ClassVar[Needs] = SCORES
    norm: ClassVar[Norm] = "linf"
    exact: ClassVar[bool] = True  # squares change the margin little: success is 0.71 in bfloat16, 0.97 in float32

    radius: LinfRadius = 8 / 255
    queries: Count = 1000
    first: PositiveShare = 0.05
    levels: int = 256

    @torch.no_grad()
    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels."""
        radius, streams = whole_levels(self.radius, self.levels), Streams.split(seeded(rng), len(pixels))
        rows = torch.arange(len(pixels), device=pixels.device)
        channels, height, width = pixels.shape[1:]
        stripes = streams.integers(rows, 2, channels, 1, width).to(pixels) * 2 - 1
        best = rounded((pixels + radius * stripes).clamp(0, 1), self.levels)
        margin = criterion.margin(model(best))
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
            reached = criterion[rows].margin(model(tried))
            better = reached > margin[rows]
            best[rows[better]], margin[rows[better]] = tried[better], reached[better]
        return best

    def _part(self, query: int) -> float:
        """The share of the image that a square covers: halved at the paper's points, scaled to these queries."""
        progress = query / self.queries * 10_000
        halvings = sum(progress > point for point in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
        return self.first / 2**halvings
