"""The update rule of AutoPGD in L1: steps along the channels of the largest gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.ascent import L1Ball, Memory, State

_FIRST = 0.2
"""The share of the channels that the first steps change."""
_SHRINK = 1.5
"""The share of channels is that of the best change divided by this; a step that stays is divided by it too."""
_LEAST = 0.1
"""The shortest step, as a share of the radius."""


@dataclass(frozen=True)
class SparseSteps:
    """Sign steps of length `size` in L1, along a share of the channels (Croce and Hein 2021, arXiv:2103.01208).

    At every `every`-th step a row whose best change has become sparser starts again from its best point with the
    full step, and any other row shortens its step.

    Attributes:
        ball: where points may be.
        radius: of the ball.
        every: steps between two checkpoints.
    """

    ball: L1Ball
    radius: float
    every: int

    def begin(self, points: Tensor, /) -> Memory:
        """Best point, its gradient and score; step size, share of channels, and channels changed at the checkpoint."""
        one = points.new_ones(len(points))
        return (points, points, -torch.inf * one, self.radius * one, _FIRST * one, points[0].numel() * one)

    def __call__(self, gradient: Tensor, state: State, memory: Memory, /) -> tuple[Tensor, Memory]:
        """The change and the new memory."""
        best, best_gradient, top, size, share, changed_before = memory
        better = state.scores > top
        top = torch.where(better, state.scores, top)
        best = torch.where(_wide(better), state.points, best)
        best_gradient = torch.where(_wide(better), gradient, best_gradient)
        points = state.points
        if state.step and state.step % self.every == 0:
            changed = (best != self.ball.centre[state.rows]).flatten(1).sum(1).to(points)
            sparser = changed < 0.95 * changed_before
            share = changed / points[0].numel() / _SHRINK
            size = torch.where(sparser, self.radius, size / _SHRINK).clamp(_LEAST * self.radius, self.radius)
            points = torch.where(_wide(sparser), best, points)
            gradient = torch.where(_wide(sparser), best_gradient, gradient)
            changed_before = changed
        step = _largest(gradient, share).sign()
        length = step.flatten(1).abs().sum(1).clamp_min(1)
        moved = points + _wide(size / length) * step
        return moved - state.points, (best, best_gradient, top, size, share, changed_before)


def _largest(gradient: Tensor, share: Tensor) -> Tensor:
    """The gradient (n, ...) where it is among the largest `share` (n,) of its row, and zero elsewhere; one at least."""
    size = gradient.flatten(1).abs()
    count = (share * size.shape[1]).long().clamp(1, size.shape[1])
    least = size.sort(dim=1, descending=True).values.gather(1, (count - 1)[:, None])
    return torch.where((size >= least).view_as(gradient), gradient, 0.0)


def _wide(rows: Tensor) -> Tensor:
    """(n,) -> (n, 1, 1, 1)."""
    return rows.view(-1, 1, 1, 1)
