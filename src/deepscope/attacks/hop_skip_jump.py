"""HopSkipJump: small changes from decisions alone, by an estimate of the boundary's direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.ascent import Streams
from deepscope.attacks.base import Attack, length, seeded
from deepscope.attacks.counting import ask
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.decisions import BISECTIONS, require_queries
from deepscope.attacks.grid import rounded
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, Needs
from deepscope.settings import Count, PositiveShare

_HALVINGS = 12


@dataclass(frozen=True)
class HopSkipJump(Attack):
    """Steps along an estimated normal of the decision boundary, each followed by a bisection (Chen et al. 2020).

    arXiv:1904.02144. It starts from noise. A target that the model predicts for none of the noise images is not
    reached. The random directions may be coarser than pixels (Li et al. 2020, arXiv:2005.14137), which needs fewer
    queries on photographs.

    Attributes:
        norm: what is kept small: "l2" or "linf".
        queries: images that the network may classify per image attacked.
        starts: noise images tried to find a first success.
        first: directions of the first estimate; the t-th takes the square root of t times as many.
        probe: length of the random directions, as a share of the distance to the original.
        coarse: side of the squares of pixels that a random direction changes alike; 1 changes every pixel alone.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    needs: ClassVar[Needs] = SCORES
    exact: ClassVar[bool] = True
    common: ClassVar[bool] = True
    norm: Literal["l2", "linf"] = "l2"  # pyright: ignore[reportIncompatibleVariableOverride]
    queries: Count = 1000
    starts: Count = 20
    first: Count = 50
    probe: PositiveShare = 0.1
    coarse: Count = 4
    levels: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        require_queries(self.queries, self.starts)

    @torch.no_grad()
    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels."""
        streams, found = Streams.split(seeded(rng), len(pixels)), pixels.clone()
        for row in range(len(pixels)):
            at = torch.tensor([row], device=pixels.device)
            aim, left = criterion[at], _Budget(self.queries)

            def succeeds(points: Tensor, at: Tensor = at, aim: Criterion = aim, left: _Budget = left) -> Tensor:
                left.queries -= len(points)
                same = torch.zeros(len(points), dtype=torch.long, device=points.device)
                return aim[same].met(ask(model, rounded(points, self.levels), at[same]))

            found[at] = self._walk(pixels[at], streams, at, succeeds, left)
        return found

    def _walk(self, original: Tensor, streams: Streams, row: Tensor, succeeds: Succeeds, left: _Budget) -> Tensor:
        """The nearest success for one image (1, 3, H, W); the image itself where no noise succeeds."""
        for _ in range(self.starts):
            point = streams.uniform(row, *original.shape[1:]).to(original)
            if succeeds(point):
                break
        else:
            return original
        best = point = self._bisect(original, point, succeeds)
        step = 1
        while (count := min(int(self.first * step**0.5), left.queries - BISECTIONS - 2)) > 1:
            far = length(point - original, self.norm)
            way = self._normal(original, point, streams.normal(row, count, *self._coarse(original)), succeeds)
            size = far / step**0.5
            for _ in range(min(_HALVINGS, left.queries - BISECTIONS)):
                moved = (point + size * way).clamp(0, 1)
                if succeeds(moved):
                    point = self._bisect(original, moved, succeeds)
                    break
                size = size / 2
            if length(point - original, self.norm) < length(best - original, self.norm):
                best = point
            step += 1
        return rounded(best, self.levels)

    def _coarse(self, original: Tensor) -> tuple[int, int, int]:
        """Channels, height and width of the random directions before they are enlarged."""
        channels, height, width = original.shape[1:]
        return channels, -(-height // self.coarse), -(-width // self.coarse)

    def _normal(self, original: Tensor, point: Tensor, noise: Tensor, succeeds: Succeeds) -> Tensor:
        """(1, 3, H, W) the direction in which more neighbours of the point succeed, of length 1 in the norm."""
        directions = functional.interpolate(noise[0].to(point), point.shape[2:])
        reach = self.probe * (point - original).flatten().norm()
        if self.levels:  # a change that rounding removes tells nothing
            reach = reach.clamp_min(0.5 / (self.levels - 1) * point.numel() ** 0.5)
        directions = directions * (reach / directions.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
        near = (point + directions).clamp(0, 1)
        answers = torch.where(succeeds(near), 1.0, -1.0).to(point)
        weights = answers - answers.mean() if answers.std() > 0 else answers
        way = (weights.view(-1, 1, 1, 1) * (near - point)).sum(0, keepdim=True)
        if self.norm == "linf":
            return way.sign()
        return way / way.norm().clamp_min(torch.finfo(way.dtype).tiny)

    def _bisect(self, original: Tensor, point: Tensor, succeeds: Succeeds) -> Tensor:
        """The point on the way to the original, straight or in a shrinking box, that is nearest and still succeeds."""
        far = length(point - original, "linf")
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if succeeds(self._between(original, point, middle, far)):
                high = middle
            else:
                low = middle
        return self._between(original, point, high, far)

    def _between(self, original: Tensor, point: Tensor, part: float, far: Tensor) -> Tensor:
        change = point - original
        if self.norm == "linf":
            return original + change.clamp(-part * far, part * far)
        return original + part * change


@dataclass
class _Budget:
    queries: int


Succeeds = Callable[[Tensor], Tensor]
"""(n, 3, H, W) points -> (n,) whether each meets the criterion of the image."""
