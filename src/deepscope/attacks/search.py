"""The search inside a ball that the variants of PGD share: ascend, evaluate the image as it would be saved, restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.ascent import Project, UpdateRule, ascend
from deepscope.attacks.base import Norm, distance
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import rounded, rounded_within
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel


@dataclass(frozen=True)
class Search:
    """Maximise `loss` from `start` inside `ball`; images that have not succeeded start again, up to `restarts` times.

    With `aims`, each of these criteria in turn guides a search, and the one that was asked for still decides.

    Attributes:
        norm, radius: a point further than this from its image does not count as a success.
        loss: the criterion and (n, C) rescaled logits -> (n,) what to maximise.
        start, update, ball: start, update rule and projection of `ascend`, for the images in the given rows (n,).
        steps: gradient steps per start.
        restarts: starts at most.
        stop_early: an image leaves the batch once it succeeds; otherwise it takes all steps.
        levels: see `rounded`.
    """

    norm: Norm
    radius: float
    loss: Callable[[Criterion, Tensor], Tensor]
    start: Callable[[Tensor], Tensor]
    update: Callable[[Tensor], UpdateRule]
    ball: Callable[[Tensor], Project]
    steps: int
    restarts: int = 1
    stop_early: bool = True
    levels: int = 256

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, aims: Sequence[Criterion] = ()
    ) -> Tensor:
        """(N, 3, H, W): for each image the point of success, or the last point."""
        found, rescaled = pixels.clone(), Rescaled(pixels)
        open_ = torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
        for guide in [*(aims or [criterion])] * self.restarts:
            rows = open_.nonzero()[:, 0]
            if not len(rows):
                break

            def score(
                points: Tensor, places: Tensor, rows: Tensor = rows, guide: Criterion = guide
            ) -> tuple[Tensor, Tensor]:
                at = rows[places]
                logits = model(self._shown(points, pixels[at]))
                return self.loss(guide[at], rescaled(logits, at)), logits

            start, update, ball = self.start(rows), self.update(rows), self.ball(rows)
            for state in ascend(score, start, update_rule=update, project=ball, steps=self.steps):
                at = rows[state.rows]
                seen = self._shown(state.points, pixels[at])
                inside = distance(seen, pixels[at], self.norm) <= self.radius * (1 + 1e-5) + 1e-6
                met = criterion[at].met(state.outputs) & inside
                found[at], open_[at] = seen, ~met
                if self.stop_early:
                    state.finish(met)
        return found

    def _shown(self, points: Tensor, originals: Tensor) -> Tensor:
        """The points as a file would hold them."""
        if self.norm in ("l1", "l2"):
            return rounded_within(points, originals, self.radius, self.levels, self.norm)
        return rounded(points, self.levels)
