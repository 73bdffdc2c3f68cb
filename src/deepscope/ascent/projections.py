"""Back to where points may be: the projections of `ascend`.

The centre of a ball lies in the box of pixels, so clipping to the box after the ball never leaves the ball.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.ascent.loop import Project, State

_BISECTIONS = 40


def anywhere(points: Tensor, _: State) -> Tensor:
    """No projection."""
    return points


@dataclass(frozen=True)
class Box:
    """Every element between `low` and `high`."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, points: Tensor, _: State, /) -> Tensor:
        """Clipped points."""
        return points.clamp(self.low, self.high)


@dataclass(frozen=True)
class LinfBall:
    """No element further than `radius` from the centre, and all in [0, 1].

    Attributes:
        centre: (N, ...) pixels in [0, 1], one row for each row of the start.
        radius: one number, or (N,) one for each row of the start.
    """

    centre: Tensor
    radius: float | Tensor

    def __call__(self, points: Tensor, state: State, /) -> Tensor:
        """The nearest allowed points, up to clipping."""
        centre, radius = self.centre[state.rows], _column(self.radius, state.rows, points)
        return points.clamp(centre - radius, centre + radius).clamp(0, 1)


@dataclass(frozen=True)
class L2Ball:
    """No row further than `radius` from its centre in Euclidean distance, and all in [0, 1].

    Attributes:
        centre: (N, ...) pixels in [0, 1], one row for each row of the start.
        radius: one number, or (N,) one for each row of the start.
        surface: put every row at that distance, also the nearer ones (before clipping to [0, 1]), except one that is
            its centre.
    """

    centre: Tensor
    radius: float | Tensor
    surface: bool = False

    def __call__(self, points: Tensor, state: State, /) -> Tensor:
        """The nearest allowed points, up to clipping."""
        centre, radius = self.centre[state.rows], _column(self.radius, state.rows, points)
        offset = points - centre
        norm = offset.flatten(1).norm(dim=1).clamp_min(torch.finfo(points.dtype).tiny)
        factor = radius / norm.view(-1, *[1] * (points.ndim - 1))
        factor = factor.clamp_max(torch.finfo(points.dtype).max)  # a point on its centre stays there: 0 x inf is NaN
        return (centre + offset * (factor if self.surface else factor.clamp_max(1))).clamp(0, 1)


@dataclass(frozen=True)
class L1Ball:
    """The sum of a row's absolute changes from its centre at most `radius`, and all in [0, 1].

    The projection onto ball and box together: clipping after the ball would leave most of the radius unused (Croce and
    Hein 2021, arXiv:2103.01208).

    Attributes:
        centre: (N, ...) pixels in [0, 1], one row for each row of the start.
        radius: one number, or (N,) one for each row of the start.
    """

    centre: Tensor
    radius: float | Tensor

    def __call__(self, points: Tensor, state: State, /) -> Tensor:
        """The nearest allowed points."""
        centre = self.centre[state.rows]
        radius = _column(self.radius, state.rows, points)
        change = points - centre
        room = torch.where(change > 0, 1 - centre, centre)
        size, several = change.abs(), tuple(range(1, points.ndim))

        def shrunk(by: Tensor) -> Tensor:
            return torch.minimum((size - by).clamp_min(0), room)

        high = size.amax(several, keepdim=True)
        low = torch.zeros_like(high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            long = shrunk(middle).sum(several, keepdim=True) > radius
            low, high = torch.where(long, middle, low), torch.where(long, high, middle)
        return (centre + change.sign() * shrunk(high)).clamp(0, 1)  # inside the ball, `high` has come down to 0


@dataclass(frozen=True)
class Chain:
    """One projection after the other."""

    links: tuple[Project, ...]

    def __call__(self, points: Tensor, state: State, /) -> Tensor:
        """The points after every link."""
        for link in self.links:
            points = link(points, state)
        return points


def _column(radius: float | Tensor, rows: Tensor, like: Tensor) -> Tensor:
    """The rows' radii as (n, 1, ..., 1), or the one radius."""
    if isinstance(radius, Tensor):
        return radius.to(like)[rows].view(-1, *[1] * (like.ndim - 1))
    return like.new_tensor(radius)
