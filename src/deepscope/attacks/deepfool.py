"""DeepFool: step by step to the nearest boundary of a linearised network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attacks.attack import Attack, Norm, require_positive
from deepscope.attacks.goals import Goal, Targeted
from deepscope.attacks.grid import rounded
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count


@dataclass(frozen=True)
class DeepFool(Attack):
    """Projects onto the nearest linearised class boundary until it is crossed (Moosavi-Dezfooli et al. 2016).

    Attributes:
        steps: projections before giving up.
        candidates: rival classes looked at, those of the largest logits for the image; a target is its own only rival.
        overshoot: part by which the change goes beyond the boundary.
        levels: grey levels of the saved image; 0 leaves pixels between levels.
    """

    name: ClassVar[str] = "deepfool"
    norm: ClassVar[Norm] = "l2"
    steps: Count = 50
    candidates: Count = 9
    overshoot: float = 0.02
    levels: int = 256

    def __post_init__(self) -> None:
        require_positive(steps=self.steps, candidates=self.candidates)

    def __call__(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """Perturbed pixels; nothing is random."""
        found, total = pixels.clone(), torch.zeros_like(pixels)
        rows = torch.arange(len(pixels), device=pixels.device)
        rivals: Tensor | None = None
        rescaled = Rescaled(pixels)

        def look() -> tuple[Tensor, Tensor]:
            points = (pixels[rows] + (1 + self.overshoot) * total[rows]).clamp(0, 1)
            with torch.enable_grad():
                return points, rescaled(model(rounded(points.requires_grad_(), self.levels)), rows)

        for step in range(self.steps + 1):
            points, logits = look()
            found[rows] = rounded(points.detach(), self.levels)
            on = ~goal[rows].reached(logits)
            if step == self.steps or not on.any():
                break
            if rivals is None:
                rivals = self._rivals(logits.detach(), goal)
            if not on.all():
                rows = rows[on]
                points, logits = look()  # one more pass forward is cheaper than those back through who has finished
            total[rows] += self._nearest(points, logits, goal[rows], rivals[rows])
        return found

    def _rivals(self, logits: Tensor, goal: Goal) -> Tensor:
        """(N, K) classes that the image might become; for a target, the class that it must leave is found anew."""
        if isinstance(goal, Targeted):
            return goal.classes[:, None]
        others = logits.scatter(1, goal.classes[:, None], -torch.inf)
        return others.topk(min(self.candidates, logits.shape[1] - 1), dim=1).indices

    @torch.enable_grad()
    def _nearest(self, points: Tensor, logits: Tensor, goal: Goal, rivals: Tensor) -> Tensor:
        """The shortest of the projections onto each rival's boundary; zero where no gradient shows the way to one."""
        own = logits.argmax(1) if isinstance(goal, Targeted) else goal.classes
        gaps = logits.gather(1, rivals) - logits.gather(1, own[:, None])
        shortest = torch.full((len(points),), torch.inf, device=points.device, dtype=points.dtype)
        change = torch.zeros_like(points)
        diagonal = points[0].numel() ** 0.5  # of the box of all images: no longer step is of any use
        for k in range(rivals.shape[1]):
            last = k == rivals.shape[1] - 1
            (normal,) = torch.autograd.grad(gaps[:, k].sum(), points, retain_graph=not last)
            steepest = normal.flatten(1).abs().amax(1)
            normal = normal / steepest.view(-1, 1, 1, 1)  # or squares of a small gradient underflow; NaN where it is 0
            norm = normal.flatten(1).norm(dim=1)
            gap = gaps[:, k].detach().abs().clamp_min(1e-6)  # on the boundary itself there is still a way to go
            length = (gap / steepest / norm).clamp_max(diagonal)
            nearer = norm.isfinite() & (length < shortest)
            shortest = torch.where(nearer, length, shortest)
            change = torch.where(nearer.view(-1, 1, 1, 1), (length / norm).view(-1, 1, 1, 1) * normal, change)
        return change
