"""FAB: the smallest change in L1, L2 or Linf, by projections onto linearised decision boundaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from deepscope.attacks.base import Attack, length
from deepscope.attacks.best import Best
from deepscope.attacks.competitors import competitors
from deepscope.attacks.criteria import Criterion, Targeted, Untargeted
from deepscope.attacks.grid import rounded
from deepscope.attacks.hyperplane import reach
from deepscope.models import VisionModel
from deepscope.settings import Count, ProperShare, Share


@dataclass(frozen=True)
class FAB(Attack):
    """Fast adaptive boundary attack in its targeted form: one class after the other (Croce and Hein 2020).

    arXiv:1907.02044. Each step projects both the point and the original onto the linearised boundary with a class and
    takes a mean of the two that favours the nearer one. After a success it goes back towards the original.

    Attributes:
        norm: what is kept small: "linf", "l2" or "l1".
        steps: projections per class.
        targets: classes tried per image, the most probable first; for a target, only the target itself.
        overshoot: share by which a step goes beyond the boundary.
        bias: largest weight of the original's projection.
        retreat: share of the change that is kept after a success.
        enough: an image is finished once its change is no longer than this; 0 always searches for the smallest.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    name: ClassVar[str] = "fab"
    norm: Literal["linf", "l2", "l1"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride]
    steps: Count = 100
    targets: Count = 9
    overshoot: Share = 0.05
    bias: Share = 0.1
    retreat: ProperShare = 0.9
    enough: float = 0.0
    levels: int = 256

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels; nothing is random."""
        best = Best(pixels)
        for aim in competitors(model, pixels, criterion, self.targets):
            rows = (-best.value > self.enough).nonzero()[:, 0]
            if not len(rows):
                break
            self._approach(model, pixels, criterion, aim, rows, best)
        return best.points

    def _approach(
        self,
        model: VisionModel,
        pixels: Tensor,
        criterion: Criterion,
        aim: Targeted,
        rows: Tensor,
        best: Best,
    ) -> None:
        """Search the boundary with one class for the images in some rows (n,), and offer what succeeds."""
        points = pixels[rows]
        for _ in range(self.steps):
            points = self._step(model, points, pixels[rows], _lead(criterion[rows], aim[rows]))
            seen = rounded(points, self.levels)
            with torch.no_grad():
                met = criterion[rows].met(model(seen))
            far = length(seen - pixels[rows], self.norm)
            best.offer(rows, seen, torch.where(met, -far, -torch.inf))
            nearer = pixels[rows] + self.retreat * (points - pixels[rows])
            points = torch.where(met.view(-1, 1, 1, 1), nearer, points)
            if self.enough:
                on = -best.value[rows] > self.enough
                rows, points = rows[on], points[on]
                if not len(rows):
                    break

    def _step(self, model: VisionModel, points: Tensor, originals: Tensor, lead: _Lead) -> Tensor:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            ahead = lead(model(rounded(points, self.levels)))
            (normal,) = torch.autograd.grad(ahead.sum(), points)
        points, ahead = points.detach(), ahead.detach()
        there = reach(points, normal, -ahead, self.norm)
        back = (normal * (originals - points)).flatten(1).sum(1)
        direct = reach(originals, normal, -ahead - back, self.norm)
        near, far = (length(change, self.norm).clamp_min(1e-8) for change in (there, direct))
        weight = (near / (near + far)).clamp_max(self.bias).view(-1, 1, 1, 1)
        beyond = 1 + self.overshoot
        moved = (1 - weight) * (points + beyond * there) + weight * (originals + beyond * direct)
        usable = (normal.flatten(1).isfinite().all(1) & normal.flatten(1).any(1)).view(-1, 1, 1, 1)
        return torch.where(usable, moved, points).clamp(0, 1)


@dataclass(frozen=True)
class _Lead:
    """By how much the aimed class leads: the class to leave, or, of a target, the best other class."""

    own: Tensor | None
    aim: Targeted

    def __call__(self, logits: Tensor) -> Tensor:
        """(n,) from (n, C) logits."""
        if self.own is None:
            return self.aim.margin(logits)
        return self.aim.logit(logits) - logits.gather(1, self.own[:, None])[:, 0]


def _lead(criterion: Criterion, aim: Targeted) -> _Lead:
    return _Lead(criterion.classes if isinstance(criterion, Untargeted) else None, aim)
