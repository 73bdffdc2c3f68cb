"""The smallest change that reaches a hyperplane inside the box of pixels, in L1, L2 or Linf."""

from __future__ import annotations

import torch
from torch import Tensor

from deepscope.attacks.base import Norm


def reach(points: Tensor, normal: Tensor, amount: Tensor, norm: Norm) -> Tensor:
    """The shortest change with <normal, change> = amount that keeps the points in [0, 1].

    Exact: the change follows from one number per row, which is found among sorted breakpoints (Croce and Hein 2020,
    arXiv:1907.02044). Where the box does not reach the hyperplane, the change is the corner nearest to it; where the
    normal is zero or not finite, there is none.

    Args:
        points: (N, ...) in [0, 1].
        normal: (N, ...) of the hyperplanes.
        amount: (N,) the product to reach, of either sign.
        norm: which length is smallest.

    Returns:
        (N, ...) changes.
    """
    flat, sign = points.flatten(1), amount.sign()[:, None]
    towards = normal.flatten(1) * sign
    steepest = towards.abs().amax(1, keepdim=True)
    usable = steepest.isfinite() & (steepest > 0)
    towards = torch.where(usable, towards / steepest, 0.0)  # or squares of a small normal underflow
    wanted = torch.where(usable, amount.abs()[:, None] / steepest, 0.0)
    weight = towards.abs()
    room = torch.where(towards > 0, 1 - flat, flat) * (towards != 0)
    found = _greedy(weight, room, wanted) if norm == "l1" else _even(weight, room, wanted, norm)
    return (found * towards.sign()).view_as(points)


def _even(weight: Tensor, room: Tensor, wanted: Tensor, norm: Norm) -> Tensor:
    """(N, D) of the form min(t * pace, room): in Linf all channels go at the same pace, in L2 at that of the normal."""
    pace = torch.ones_like(weight) if norm == "linf" else weight
    ends = torch.where(weight > 0, room / pace.clamp_min(torch.finfo(weight.dtype).tiny), torch.inf)
    ends, order = ends.sort(dim=1)  # where each channel comes to the end of its room
    full = (weight * room).gather(1, order).cumsum(1)
    rate = (weight * pace).gather(1, order)
    moving = rate.flip(1).cumsum(1).flip(1) - rate  # of the channels that go on beyond each end
    got = full + moving * ends.nan_to_num(posinf=0.0)
    at = torch.searchsorted(got.masked_fill(ends.isinf(), torch.inf), wanted).clamp_max(weight.shape[1] - 1)
    before = torch.where(at > 0, full.gather(1, (at - 1).clamp_min(0)), 0.0)
    pulling = moving.gather(1, at) + rate.gather(1, at)
    t = (wanted - before) / pulling.clamp_min(torch.finfo(weight.dtype).tiny)
    return torch.minimum(t * pace, room) * (weight > 0)


def _greedy(weight: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """(N, D) with the channels of the largest weights at the end of their room."""
    heaviest, order = weight.sort(dim=1, descending=True)
    whole = heaviest * room.gather(1, order)
    missing = (wanted - (whole.cumsum(1) - whole)).clamp_min(0)  # when each channel's turn comes
    part = torch.minimum(missing, whole) / heaviest.clamp_min(torch.finfo(weight.dtype).tiny)
    return torch.zeros_like(weight).scatter(1, order, torch.where(heaviest > 0, part, 0.0))
