"""The search inside a ball that PGD and its kin share: climb, look at what a saved image would show, restart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deepscope.ascent import Move, Project, ascend
from deepscope.attacks.attack import Norm, distance
from deepscope.attacks.goals import Goal
from deepscope.attacks.grid import rounded, rounded_within
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel


def search(
    model: VisionModel,
    pixels: Tensor,
    goal: Goal,
    *,
    norm: Norm,
    radius: float,
    loss: Callable[[Goal, Tensor], Tensor],
    start: Callable[[Tensor], Tensor],
    move: Callable[[Tensor], Move],
    ball: Callable[[Tensor], Project],
    steps: int,
    restarts: int = 1,
    stop_early: bool = True,
    levels: int = 256,
) -> Tensor:
    """Climb `loss` from `start` inside `ball`; images that have not succeeded start again, up to `restarts` times.

    Args:
        norm, radius: a point further than this from its image does not count.
        loss: the goal and (n, C) logits, rescaled -> (n,) what to climb.
        start, move, ball: what `ascend` takes, for the images in the given rows (n,).
        stop_early: an image leaves the batch once it succeeds; otherwise it climbs on to the end.
        levels: see `rounded`.

    Returns:
        (N, 3, H, W): for each image the point of success, or the last point.
    """

    def shown(points: Tensor, at: Tensor) -> Tensor:
        return rounded_within(points, pixels[at], radius, levels) if norm == "l2" else rounded(points, levels)

    found, rescaled = pixels.clone(), Rescaled(pixels)
    open_ = torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
    for _ in range(restarts):
        rows = open_.nonzero()[:, 0]
        if not len(rows):
            break

        def score(points: Tensor, places: Tensor, rows: Tensor = rows) -> tuple[Tensor, Tensor]:
            at = rows[places]
            logits = model(shown(points, at))
            return loss(goal[at], rescaled(logits, at)), logits

        for state in ascend(score, start(rows), move=move(rows), project=ball(rows), steps=steps):
            at = rows[state.rows]
            seen = shown(state.points, at)
            inside = distance(seen, pixels[at], norm) <= radius * (1 + 1e-5) + 1e-6
            reached = goal[at].reached(state.outputs) & inside
            found[at], open_[at] = seen, ~reached
            if stop_early:
                state.finish(reached)
    return found
