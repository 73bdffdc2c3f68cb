"""Running an attack on many images at growing radii: what succeeded, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope.ascent.streams import of_rows
from deepscope.attacks.base import Attack, Bounded, Shared
from deepscope.attacks.counting import Cost, counted
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.evaluator import Verdict, evaluate
from deepscope.attacks.levels import to_levels, to_pixels
from deepscope.attacks.subjects import Subjects
from deepscope.models import VisionModel
from deepscope.models.differentiable import differentiable
from deepscope.models.fast_backward import FastBackward
from deepscope.session import Session

POOL = 2**24
"""Pixel values of the images that a pooled attack holds at once: 111 photographs of 224 x 224, or 7,000 digits."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of an attack on N images.

    Attributes:
        images: (N, 3, H, W) uint8, each image as last evaluated; the first few where the others were not kept.
        radii: in growing order; infinite for an attack without a radius.
        verdicts: for each radius, one verdict per image. An image that succeeded at a smaller radius keeps its verdict.
        queries: (N,) images that the network classified, over all radii: of attacks without gradients each image's own,
            of others the mean of the batch that the image was in.
        gradients: (N,) the same for gradients, always a mean.
        vanished: (N,) whether the image withstood a radius at which a gradient of it was zero or not finite, or at
            which every query was answered with the same logits: it is not informative then. Of a shared attack: whether
            the gradients of most images that it learnt from were.
    """

    images: Tensor
    radii: tuple[float, ...]
    verdicts: tuple[tuple[Verdict, ...], ...]
    queries: Tensor
    gradients: Tensor
    vanished: Tensor

    def __len__(self) -> int:
        return len(self.queries)

    def successes(self, place: int = -1) -> list[bool]:
        """Which images succeeded at a radius, given by its place; by default the largest."""
        return [verdict.success for verdict in self.verdicts[place]]

    def misled(self, place: int = -1) -> list[bool]:
        """Which images were taken for another class than the true one, at a radius or a smaller one."""
        radii = range(len(self.radii))[place] + 1
        return [any(verdict.misled for verdict in of_image) for of_image in zip(*self.verdicts[:radii])]

    def values(self, field: str, *, place: int = -1, of_successes: bool = True) -> list[float]:
        """One field of the verdicts at a radius, by default of the successes only: a failure has no distance."""
        found = (verdict for verdict in self.verdicts[place] if verdict.success or not of_successes)
        return [float(getattr(verdict, field)) for verdict in found]

    def keeping(self, count: int) -> Outcome:
        """The same outcome with the first images only."""
        return replace(self, images=self.images[:count].clone())


@differentiable
def run_attack(  # noqa: PLR0913 - its settings are keywords
    attack: Attack,
    model: VisionModel,
    subjects: Subjects,
    session: Session,
    *,
    radii: Sequence[float] = (),
    files: Sequence[Path] | None = None,
    batch_size: int = 16,
    rng: torch.Generator | None = None,
    fast: FastBackward | None = None,
) -> Outcome:
    """Attack every image and evaluate the result.

    A bounded attack runs at each radius, on the images that withstood the smaller ones. Any other runs once, and
    has succeeded at the radii that its change does not exceed.

    Args:
        attack: the method.
        model: the network under attack.
        subjects: images that it classifies correctly, none of which meets the criterion already. A shared attack
            learns from `subjects.learn_from`, or from these same images where there is none.
        session: progress, seed and precision. In bfloat16, passes without a gradient are faster during the attack;
            the evaluation always runs in float32, and so does an attack that needs small differences of logits.
        radii: in the attack's norm; without any, its own.
        files: where to save, one PNG per image; None evaluates in memory.
        batch_size: images per batch; the result does not depend on it.
        rng: the source of all randomness; the session's stream of this attack where None.
        fast: prepared for gradients of this model; None prepares it on the first image.
    """
    images, labels, criterion = subjects.levels, subjects.labels, subjects.criterion
    rng = session.rng("attack", attack.name) if rng is None else rng
    bounded = attack if isinstance(attack, Bounded) else None
    sizes = tuple(sorted(radii)) or ((bounded.reach,) if bounded else ())
    if not bounded:
        sizes = (*sizes, math.inf)
    saved = images.clone()
    quick = session.precision == "bfloat16" and not attack.exact
    if fast is None:
        fast = FastBackward.of(model, to_pixels(images[:1], model)) if len(images) else FastBackward(enabled=False)
    queries, gradients = torch.zeros(len(images)), torch.zeros(len(images))
    vanished = torch.zeros(len(images), dtype=torch.bool)
    latest: dict[int, Verdict] = {}
    by_radius: list[tuple[Verdict, ...]] = []
    with session.progress(f"attacking with {attack.name}", total=len(images) * len(sizes)) as advance:
        for size in sizes:
            todo = [i for i in range(len(images)) if i not in latest or (bounded and not latest[i].success)]
            advance(len(images) - len(todo))
            sized = bounded.within(size) if bounded and todo else attack
            perturb, learning = _prepare(sized, model, subjects.learn_from or subjects, rng, quick=quick, fast=fast)
            queries += learning.queries / max(1, len(images))  # the cost of learning, shared by all
            gradients += learning.gradients / max(1, len(images))
            together = max(batch_size, POOL // images[0].numel()) if attack.pooled and todo else batch_size
            for start in range(0, len(todo), together):
                rows = torch.tensor(todo[start : start + together])
                pixels, wanted = to_pixels(images[rows], model), criterion[rows].to(model.device)
                watched, cost = counted(model, pixels, quick=quick, fast=fast, size=batch_size)
                changed = perturb(watched, pixels, wanted, of_rows(rng, rows.tolist()))
                queries[rows] += cost.by_image
                gradients[rows] += cost.gradients / len(rows)
                for at in torch.arange(len(rows)).split(batch_size):
                    own = rows[at]
                    places = None if files is None else [files[row] for row in own.tolist()]
                    verdicts, read = evaluate(
                        model, pixels[at], changed[at], wanted[at], labels[own].to(model.device), places
                    )
                    saved[own] = to_levels(read)
                    latest.update(zip(own.tolist(), verdicts, strict=True))
                    advance(len(own))
                if bounded:
                    latest.update({row: _within(size, bounded, latest[row]) for row in rows.tolist()})
                withstood = torch.tensor([not latest[row].success for row in rows.tolist()])
                most = learning.vanished.float().mean() > 0.5  # False where nothing was learnt
                vanished[rows] |= withstood & (cost.vanished | cost.flat | most).cpu()
            by_radius.append(tuple(_within(size, attack, latest[row]) for row in range(len(images))))
    return Outcome(saved, sizes, tuple(by_radius), queries, gradients, vanished)


def _prepare(
    attack: Attack, model: VisionModel, known: Subjects, rng: torch.Generator, *, quick: bool, fast: FastBackward
) -> tuple[Callable[[VisionModel, Tensor, Criterion, torch.Generator], Tensor], Cost]:
    """What perturbs a batch, and the cost of preparing it: a shared attack first learns its perturbation."""
    pixels = to_pixels(known.levels if isinstance(attack, Shared) else known.levels[:0], model)
    watched, cost = counted(model, pixels, quick=quick, fast=fast)
    if not isinstance(attack, Shared):
        return lambda model, pixels, criterion, rng: attack(model, pixels, criterion, rng=rng), cost
    change = attack.fit(watched, pixels, known.criterion.to(model.device), rng=rng)
    return lambda _, pixels, __, rng: attack.apply(change, pixels, rng=rng), cost


def _within(radius: float, attack: Attack, verdict: Verdict) -> Verdict:
    """The verdict, a success only within the radius; the margin is for the rounding of sums, not of pixels."""
    inside = verdict.distance(attack.norm) <= radius * (1 + 1e-4) + 1e-6
    return replace(verdict, success=verdict.success and inside, misled=verdict.misled and inside)
