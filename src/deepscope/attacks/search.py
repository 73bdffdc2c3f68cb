"""The search inside a ball that the variants of PGD share: ascend, evaluate the image as it would be saved, restart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deepscope.ascent import Project, UpdateRule, ascend
from deepscope.attacks.base import Norm, distance
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import rounded, rounded_within
from deepscope.attacks.scale import Rescaled
from deepscope.models import VisionModel


def search(
    model: VisionModel,
    pixels: Tensor,
    criterion: Criterion,
    *,
    norm: Norm,
    radius: float,
    loss: Callable[[Criterion, Tensor], Tensor],
    start: Callable[[Tensor], Tensor],
    update: Callable[[Tensor], UpdateRule],
    ball: Callable[[Tensor], Project],
    steps: int,
    restarts: int = 1,
    stop_early: bool = True,
    levels: int = 256,
) -> Tensor:
    """Maximise `loss` from `start` inside `ball`; images that have not succeeded start again, up to `restarts` times.

    Args:
        norm, radius: a point further than this from its image does not count as a success.
        loss: the criterion and (n, C) rescaled logits -> (n,) what to maximise.
        start, update, ball: start, update rule and projection of `ascend`, for the images in the given rows (n,).
        stop_early: an image leaves the batch once it succeeds; otherwise it takes all steps.
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
            return loss(criterion[at], rescaled(logits, at)), logits

        for state in ascend(score, start(rows), update_rule=update(rows), project=ball(rows), steps=steps):
            at = rows[state.rows]
            seen = shown(state.points, at)
            inside = distance(seen, pixels[at], norm) <= radius * (1 + 1e-5) + 1e-6
            met = criterion[at].met(state.outputs) & inside
            found[at], open_[at] = seen, ~met
            if stop_early:
                state.finish(met)
    return found
