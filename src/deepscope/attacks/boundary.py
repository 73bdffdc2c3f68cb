"""The boundary attack, which needs decisions only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from deepscope.ascent import Streams
from deepscope.attacks.base import Attack, Norm, distance, seeded
from deepscope.attacks.counting import ask
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.decisions import BISECTIONS, require_queries
from deepscope.attacks.grid import rounded
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, Needs
from deepscope.settings import Count, Positive

Succeeds: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(rows (n,), points (n, 3, H, W)) -> (n,) whether the criterion is met."""


@dataclass(frozen=True)
class Boundary(Attack):
    """A walk along the decision boundary towards the original (Brendel et al. 2018, arXiv:1712.04248).

    It starts from noise. A target that the model predicts for none of the noise images is not reached.

    Attributes:
        queries: images that the network may classify per image attacked.
        starts: noise images tried to find a first success.
        spherical: first length of a step around the original, as a share of the distance.
        towards: first length of a step towards the original, as a share of the distance.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    needs: ClassVar[Needs] = SCORES
    norm: ClassVar[Norm] = "l2"
    exact: ClassVar[bool] = True
    pooled: ClassVar[bool] = True
    queries: Count = 1000
    starts: Count = 20
    spherical: Positive = 0.01
    towards: Positive = 0.01
    levels: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        require_queries(self.queries, self.starts)

    @torch.no_grad()
    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels."""
        streams = Streams.split(seeded(rng), len(pixels))

        def succeeds(rows: Tensor, points: Tensor) -> Tensor:
            return criterion[rows].met(ask(model, rounded(points, self.levels), rows))

        best, found = self._noise(pixels, streams, succeeds)
        rows = found.nonzero()[:, 0]
        if not len(rows):
            return pixels.clone()
        best[rows] = self._bisect(pixels[rows], best[rows], rows, succeeds)
        spherical, towards = (pixels.new_full((len(rows),), first) for first in (self.spherical, self.towards))
        for _ in range((self.queries - self.starts - BISECTIONS) // 2):  # two queries per iteration
            original, point = pixels[rows], best[rows]
            around = self._around(original, point, spherical, streams.normal(rows, *pixels.shape[1:]).to(pixels))
            held = succeeds(rows, around)
            point = torch.where(_wide(held), around, point)
            nearer = rounded(point + _wide(towards) * (original - point), self.levels)
            came = held.clone()
            if held.any():
                came[held] = succeeds(rows[held], nearer[held])
            best[rows] = torch.where(_wide(came), nearer, point)
            spherical = (spherical * torch.where(held, 1.1, 1 / 1.1)).clamp(1e-5, 0.5)  # about half of them succeed
            towards = (towards * torch.where(came, 1.3, torch.where(held, 1 / 1.1, 1.0))).clamp(1e-5, 0.5)
        return best

    def _noise(self, pixels: Tensor, streams: Streams, succeeds: Succeeds) -> tuple[Tensor, Tensor]:
        """Noise images that succeed, and for which rows (N,) one was found."""
        best = pixels.clone()
        found = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        for _ in range(self.starts):
            rows = (~found).nonzero()[:, 0]
            if not len(rows):
                break
            noise = rounded(streams.uniform(rows, *pixels.shape[1:]).to(pixels), self.levels)
            good = succeeds(rows, noise)
            best[rows[good]], found[rows[good]] = noise[good], True
        return best, found

    def _bisect(self, original: Tensor, point: Tensor, rows: Tensor, succeeds: Succeeds) -> Tensor:
        """The point on the line between them that is nearest to the original and still succeeds."""
        low, high = torch.zeros_like(rows, dtype=point.dtype), torch.ones_like(rows, dtype=point.dtype)
        best = point
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            tried = rounded(original + _wide(middle) * (point - original), self.levels)
            good = succeeds(rows, tried)
            low, high = torch.where(good, low, middle), torch.where(good, middle, high)
            best = torch.where(_wide(good), tried, best)
        return best

    def _around(self, original: Tensor, point: Tensor, size: Tensor, noise: Tensor) -> Tensor:
        """A random step orthogonal to the line to the original, projected back onto the sphere around it."""
        way = point - original
        far = distance(point, original, "l2").clamp_min(1e-12)
        noise = noise - way * _wide((noise * way).flatten(1).sum(1) / far.square())
        noise = noise * _wide(size * far / noise.flatten(1).norm(dim=1).clamp_min(1e-12))
        turned = (way + noise) / _wide((1 + size.square()).sqrt())
        return rounded((original + turned).clamp(0, 1), self.levels)


def _wide(rows: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1, 1)."""
    return rows.view(-1, 1, 1, 1)
