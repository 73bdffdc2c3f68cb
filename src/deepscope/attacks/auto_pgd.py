"""AutoPGD: PGD that chooses its own step size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from deepscope.ascent import L1Ball, L2Ball, LinfBall, Memory, Normalised, Sign, State, Streams
from deepscope.attacks.base import InNorm, length, seeded
from deepscope.attacks.competitors import competitors
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import whole_levels
from deepscope.attacks.search import Search
from deepscope.attacks.sparse_steps import SparseSteps
from deepscope.models import VisionModel
from deepscope.settings import Count, Positive, Share


@dataclass(frozen=True)
class AutoPGD(InNorm):
    """PGD with momentum whose step halves where progress stalls (Croce and Hein 2020, arXiv:2003.01690).

    In L1 its steps change few channels, fewer where that helps (Croce and Hein 2021, arXiv:2103.01208).

    Attributes:
        loss: to maximise: cross-entropy, or the difference of logits ratio, which is independent of the logits' scale.
        radius: largest length of the change, pixels in [0, 1]; by default 4/255 in Linf, 1 in L2, 12 in L1.
        steps: gradient steps of each start.
        restarts: number of starts; an image that has succeeded leaves the batch.
        progress: share of the steps since the last checkpoint that must increase the loss, or the step halves.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
        norm: in which the radius is measured: "linf", "l2" or "l1".
        targets: other classes to aim at one after the other, the most probable first, each from its own starts; 0 aims
            at none in particular. Any class but the true one still counts as a success.
    """

    name: ClassVar[str] = "auto-pgd"
    loss: Literal["cross-entropy", "logit-ratio"] = "cross-entropy"
    radius: Positive | None = None
    steps: Count = 50
    restarts: Count = 1
    progress: Share = 0.75
    levels: int = 256
    norm: Literal["linf", "l2", "l1"] = "linf"  # pyright: ignore[reportIncompatibleVariableOverride]
    targets: int = 0

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels."""
        radius = whole_levels(self.reach, self.levels) if self.norm == "linf" else self.reach
        streams = Streams.split(seeded(rng), len(pixels))
        ball = {"linf": LinfBall, "l2": L2Ball, "l1": L1Ball}[self.norm]

        def loss(criterion: Criterion, logits: Tensor) -> Tensor:
            return criterion.cross_entropy(logits) if self.loss == "cross-entropy" else criterion.scaled_margin(logits)

        def start(rows: Tensor) -> Tensor:
            if self.norm == "linf":
                noise = streams.uniform(rows, *pixels.shape[1:], low=-radius, high=radius)
                return (pixels[rows] + noise).clamp(0, 1)
            noise = streams.normal(rows, *pixels.shape[1:]).to(pixels)
            noise = noise * (radius / length(noise, self.norm)).view(-1, 1, 1, 1)
            return (pixels[rows] + noise).clamp(0, 1)

        def update(rows: Tensor) -> SelfTuned | SparseSteps:
            if self.norm == "l1":
                return SparseSteps(L1Ball(pixels[rows], radius), radius, max(1, int(0.04 * self.steps)))
            direction = Sign(1.0) if self.norm == "linf" else Normalised(1.0)
            return SelfTuned(ball(pixels[rows], radius), radius, checkpoints(self.steps), self.progress, direction)

        search = Search(
            norm=self.norm,
            radius=radius,
            loss=loss,
            start=start,
            update=update,
            ball=lambda rows: ball(pixels[rows], radius),
            steps=self.steps,
            restarts=self.restarts,
            levels=self.levels,
        )
        aims = competitors(model, pixels, criterion, self.targets) if self.targets else ()
        return search(model, pixels, criterion, aims)


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps at which progress is measured: 0, then 22 %, and gaps that shrink by 3 % down to 6 % of all steps."""
    found, gap = [0.0, 0.22], 0.22
    while found[-1] < 1:
        gap = max(gap - 0.03, 0.06)
        found.append(found[-1] + gap)
    return tuple(dict.fromkeys(min(math.ceil(round(part * steps, 6)), steps) for part in found))


@dataclass(frozen=True)
class SelfTuned:
    """The update rule of AutoPGD: a step with momentum inside the ball, each row with its own step size.

    At a checkpoint a row whose score rose in too few steps, or whose step and best score are the same as at the last
    checkpoint, halves its step and continues from the best point it has seen.
    """

    ball: LinfBall | L2Ball | L1Ball
    radius: float
    checkpoints: tuple[int, ...]
    progress: float
    direction: Sign | Normalised

    def begin(self, points: Tensor, /) -> Memory:
        """Previous point, best point and its gradient; step size, last and best score, increases, last checkpoint's."""
        one = points.new_ones(len(points))
        worst = -torch.inf * one
        size = 2 * self.radius * one
        return (points, points, points, size, -worst, worst, 0 * one, worst, one > 1)

    def __call__(self, gradient: Tensor, state: State, memory: Memory, /) -> tuple[Tensor, Memory]:
        """The change and the new memory."""
        previous, best, best_gradient, size, last, top, climbs, top_before, halved_before = memory
        points, scores = state.points, state.scores
        climbs = climbs + (scores > last)
        better = scores > top
        top = torch.where(better, scores, top)
        best, best_gradient = _where(better, points, best), _where(better, gradient, best_gradient)
        if state.step in self.checkpoints[1:]:
            since = state.step - self.checkpoints[self.checkpoints.index(state.step) - 1]
            halve = (climbs < self.progress * since) | (~halved_before & (top <= top_before))
            size = torch.where(halve, size / 2, size)
            points, gradient = _where(halve, best, points), _where(halve, best_gradient, gradient)
            climbs, top_before, halved_before = torch.zeros_like(climbs), top, halve
        elif state.step == 0:
            top_before = top
        tried = self.ball(points + size.view(-1, 1, 1, 1) * self.direction(gradient, state, ())[0], state)
        momentum = 0.0 if state.step == 0 else 0.25
        target = points + (1 - momentum) * (tried - points) + momentum * (points - previous)
        kept = (points, best, best_gradient, size, scores, top, climbs, top_before, halved_before)
        return target - state.points, kept


def _where(rows: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(rows.view(-1, *[1] * (other.ndim - 1)), chosen, other)
