"""Running an attack on many images at growing radii, judged, with its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope.attacks.attack import Attack, Bounded, Shared
from deepscope.attacks.goals import Goal
from deepscope.attacks.judge import Cost, Verdict, counted, judge
from deepscope.models import VisionModel
from deepscope.models.differentiable import differentiable
from deepscope.models.fast_backward import FastBackward


@dataclass(frozen=True)
class Evaluation:
    """What an attack did to N images.

    Attributes:
        radii: in growing order.
        verdicts: for each radius, a verdict an image. An image that succeeded at a smaller radius keeps that verdict.
        saved: (N, 3, H, W) uint8, each image as last judged.
        queries, gradients: (N,) what each image cost over all radii: the mean of the batch it was attacked in.
        vanished: (N,) whether the image withstood a radius at which a gradient of it was zero or not finite, or at
            which every query was answered with the same logits: it proves nothing then. Of a shared attack: whether
            the gradients of most images that it learnt from were.
    """

    radii: tuple[float, ...]
    verdicts: tuple[tuple[Verdict, ...], ...]
    saved: Tensor
    queries: Tensor
    gradients: Tensor
    vanished: Tensor


@differentiable
def evaluate(
    attack: Attack,
    model: VisionModel,
    images: Tensor,
    labels: Tensor,
    goal: Goal,
    *,
    rng: torch.Generator,
    paths: Sequence[Path],
    radii: Sequence[float] = (),
    fit: tuple[Tensor, Goal] | None = None,
    batch_size: int = 16,
    quick: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Attack every image and let the judge decide.

    A bounded attack is run at each radius, on the images that withstood the smaller ones. Any other is run once, and
    has succeeded at the radii that its change does not exceed.

    Args:
        images: (N, 3, H, W) uint8, all classified correctly and none already where the goal wants it.
        labels: (N,) true classes.
        goal: one row an image; like images and labels on the CPU.
        paths: where the judge saves, one PNG an image.
        radii: in the attack's bound; without any, its own.
        fit: pixels in uint8 and their goal, that a shared attack learns from; these same images where None.
        batch_size: images attacked at once; the outcome does not depend on it.
        quick: passes without a gradient run in bfloat16 during the attack, never when judging, and not for an attack
            that goes by differences too small for it.
        advance: called with the number of images done.
    """
    bounded = attack if isinstance(attack, Bounded) else None
    sizes = tuple(sorted(radii)) or ((bounded.reach,) if bounded else ())
    if not bounded:
        sizes = (*sizes, math.inf)
    saved = images.clone()
    quick = quick and not attack.exact
    fast = FastBackward.of(model, to_pixels(images[:1], model))
    queries, gradients = torch.zeros(len(images)), torch.zeros(len(images))
    vanished = torch.zeros(len(images), dtype=torch.bool)
    latest: dict[int, Verdict] = {}
    by_radius: list[tuple[Verdict, ...]] = []
    for size in sizes:
        todo = [i for i in range(len(images)) if i not in latest or (bounded and not latest[i].success)]
        sized = bounded.within(size) if bounded and todo else attack
        lay, learning = _prepare(sized, model, fit or (images, goal), rng, quick=quick, fast=fast)
        queries += learning.queries / max(1, len(images))  # what learning cost, shared by all
        gradients += learning.gradients / max(1, len(images))
        for start in range(0, len(todo), batch_size):
            rows = torch.tensor(todo[start : start + batch_size])
            pixels, aim = to_pixels(images[rows], model), goal[rows].to(model.device)
            watched, cost = counted(model, pixels, quick=quick, fast=fast)
            changed = lay(watched, pixels, aim)
            queries[rows] += cost.queries / len(rows)
            gradients[rows] += cost.gradients / len(rows)
            verdicts, read = judge(
                model, pixels, changed, aim, labels[rows].to(model.device), [paths[row] for row in rows.tolist()]
            )
            saved[rows] = to_levels(read)
            latest.update(zip(rows.tolist(), verdicts, strict=True))
            if bounded:
                latest.update({row: _within(size, bounded, latest[row]) for row in rows.tolist()})
            withstood = torch.tensor([not latest[row].success for row in rows.tolist()])
            most = learning.vanished.float().mean() > 0.5  # False where nothing was learnt
            vanished[rows] |= withstood & (cost.vanished | cost.flat | most).cpu()
            advance(len(rows))
        by_radius.append(tuple(_within(size, attack, latest[row]) for row in range(len(images))))
    return Evaluation(sizes, tuple(by_radius), saved, queries, gradients, vanished)


def _prepare(
    attack: Attack,
    model: VisionModel,
    fit: tuple[Tensor, Goal],
    rng: torch.Generator,
    *,
    quick: bool,
    fast: FastBackward,
) -> tuple[Callable[[VisionModel, Tensor, Goal], Tensor], Cost]:
    """What changes a batch, and the cost of learning it: a shared attack learns its change first."""
    known = to_pixels(fit[0] if isinstance(attack, Shared) else fit[0][:0], model)
    watched, cost = counted(model, known, quick=quick, fast=fast)
    if not isinstance(attack, Shared):
        return lambda model, pixels, goal: attack(model, pixels, goal, rng=rng), cost
    change = attack.fit(watched, known, fit[1].to(model.device), rng=rng)
    return lambda _, pixels, __: attack.apply(change, pixels, rng=rng), cost


def _within(radius: float, attack: Attack, verdict: Verdict) -> Verdict:
    """The verdict, a success only within the radius; the margin is for the rounding of sums, not of pixels."""
    return replace(verdict, success=verdict.success and verdict.distance(attack.norm) <= radius * (1 + 1e-4) + 1e-6)


def to_pixels(levels: Tensor, model: VisionModel) -> Tensor:
    """uint8 levels -> pixels in [0, 1] on the model's device, channels last, which convolutions prefer."""
    return levels.to(model.device).float().div(255).contiguous(memory_format=torch.channels_last)


def to_levels(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] -> uint8 levels on the CPU."""
    return (pixels.clamp(0, 1) * 255).round().byte().cpu()
