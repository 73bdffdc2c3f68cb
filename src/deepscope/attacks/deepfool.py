"""DeepFool: steps to the nearest decision boundary of the linearised network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attacks.base import Attack, Norm
from deepscope.attacks.criteria import Criterion, Targeted
from deepscope.attacks.grid import rounded
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel
from deepscope.settings import Count


@dataclass(frozen=True)
class DeepFool(Attack):
    """Projects onto the nearest linearised class boundary until it is crossed (Moosavi-Dezfooli et al. 2016).

    Attributes:
        steps: projections before giving up.
        candidates: competing classes considered, those with the largest logits; for a target, only the target itself.
        overshoot: share by which the change goes beyond the boundary.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    name: ClassVar[str] = "deepfool"
    norm: ClassVar[Norm] = "l2"
    steps: Count = 50
    candidates: Count = 9
    overshoot: float = 0.02
    levels: int = 256

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels; nothing is random."""
        found, total = pixels.clone(), torch.zeros_like(pixels)
        rows = torch.arange(len(pixels), device=pixels.device)
        competitors: Tensor | None = None
        rescaled = Rescaled(pixels)

        def look() -> tuple[Tensor, Tensor]:
            points = (pixels[rows] + (1 + self.overshoot) * total[rows]).clamp(0, 1)
            with torch.enable_grad():
                return points, rescaled(model(rounded(points.requires_grad_(), self.levels)), rows)

        for step in range(self.steps + 1):
            points, logits = look()
            found[rows] = rounded(points.detach(), self.levels)
            on = ~criterion[rows].met(logits)
            if step == self.steps or not on.any():
                break
            if competitors is None:
                competitors = self._competitors(logits.detach(), criterion)
            if not on.all():
                rows = rows[on]
                points, logits = look()  # one more forward pass is cheaper than backward passes through finished images
            total[rows] += self._nearest(points, logits, criterion[rows], competitors[rows])
        return found

    def _competitors(self, logits: Tensor, criterion: Criterion) -> Tensor:
        """(N, K) classes that the image might become; for a target, the class to leave is found at each step."""
        if isinstance(criterion, Targeted):
            return criterion.classes[:, None]
        others = logits.scatter(1, criterion.classes[:, None], -torch.inf)
        return others.topk(min(self.candidates, logits.shape[1] - 1), dim=1).indices

    @torch.enable_grad()
    def _nearest(self, points: Tensor, logits: Tensor, criterion: Criterion, competitors: Tensor) -> Tensor:
        """The shortest projection onto a boundary with a competing class; zero where no gradient leads to one."""
        own = logits.argmax(1) if isinstance(criterion, Targeted) else criterion.classes
        gaps = logits.gather(1, competitors) - logits.gather(1, own[:, None])
        shortest = torch.full((len(points),), torch.inf, device=points.device, dtype=points.dtype)
        change = torch.zeros_like(points)
        diagonal = points[0].numel() ** 0.5  # of the box of all images: no longer step is of any use
        for k in range(competitors.shape[1]):
            last = k == competitors.shape[1] - 1
            (normal,) = torch.autograd.grad(gaps[:, k].sum(), points, retain_graph=not last)
            steepest = normal.flatten(1).abs().amax(1)
            normal = normal / steepest.view(-1, 1, 1, 1)  # or squares of a small gradient underflow; NaN where it is 0
            norm = normal.flatten(1).norm(dim=1)
            gap = gaps[:, k].detach().abs().clamp_min(1e-6)  # on the boundary itself the step must not be zero
            length = (gap / steepest / norm).clamp_max(diagonal)
            nearer = norm.isfinite() & (length < shortest)
            shortest = torch.where(nearer, length, shortest)
            change = torch.where(nearer.view(-1, 1, 1, 1), (length / norm).view(-1, 1, 1, 1) * normal, change)
        return change
