"""Square attack: random squares, kept where they improve the score. It needs no gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.attacks.base import InNorm, seeded
from deepscope.attacks.counting import ask
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import whole_levels
from deepscope.attacks.squares import Bumps, Extreme, Squares
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, Needs
from deepscope.settings import Count, Positive, PositiveShare


@dataclass(frozen=True)
class Square(InNorm):
    """Random search over shrinking squares of the largest change (Andriushchenko et al. 2020, arXiv:1912.00049).

    Attributes:
        radius: largest length of the change, pixels in [0, 1]; by default 8/255 in Linf, 1 in L2, 12 in L1.
        queries: images that the network may classify per image attacked.
        first: share of the image that the first squares cover.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
        norm: in which the radius is measured: "linf", "l2" or "l1".
    """

    needs: ClassVar[Needs] = SCORES
    exact: ClassVar[bool] = True  # squares change the margin little: success is 0.71 in bfloat16, 0.97 in float32
    pooled: ClassVar[bool] = True
    common: ClassVar[bool] = True

    radius: Positive | None = None
    queries: Count = 1000
    first: PositiveShare = 0.05
    levels: int = 256
    norm: Literal["linf", "l2", "l1"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        if self.radius is None and self.norm == "linf":
            object.__setattr__(self, "radius", 8 / 255)
        super().__post_init__()

    @torch.no_grad()
    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels."""
        streams, rows = Streams.split(seeded(rng), len(pixels)), torch.arange(len(pixels), device=pixels.device)
        squares = self._squares(streams)
        best = squares.first(pixels, rows)
        margin = criterion.margin(ask(model, best, rows))
        height, width = pixels.shape[2:]
        for query in range(1, self.queries):
            rows = (margin <= 0).nonzero()[:, 0]
            if not len(rows):
                break
            side = max(1, round((self._part(query) * height * width) ** 0.5))
            tried = squares.next(pixels[rows], best[rows], rows, min(side, height, width))
            reached = criterion[rows].margin(ask(model, tried, rows))
            better = reached > margin[rows]
            best[rows[better]], margin[rows[better]] = tried[better], reached[better]
        return best

    def _squares(self, streams: Streams) -> Squares:
        """Where candidates come from, in this norm."""
        if self.norm == "linf":
            return Extreme(streams, whole_levels(self.reach, self.levels), self.levels)
        return Bumps(streams, self.reach, self.levels, self.norm)

    def _part(self, query: int) -> float:
        """The share of the image that a square covers: halved at the paper's points, scaled to these queries."""
        progress = query / self.queries * 10_000
        halvings = sum(progress > point for point in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
        return self.first / 2**halvings
