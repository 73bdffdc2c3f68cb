"""Ascent of the cross-entropy within a ball: FGSM and the variants of PGD."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.ascent import L2Ball, LinfBall, Momentum, Normalised, Sign, Streams, UpdateRule
from deepscope.attacks.base import Bounded, Norm, seeded
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import whole_levels
from deepscope.attacks.scale import Rescaled
from deepscope.attacks.search import Search
from deepscope.models import VisionModel
from deepscope.settings import Count, LinfRadius, Positive


@dataclass(frozen=True)
class FGSM(Bounded):
    """One step along the sign of the gradient (Goodfellow et al. 2015, arXiv:1412.6572).

    Attributes:
        radius: largest change of a channel, pixels in [0, 1].
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    norm: ClassVar[Norm] = "linf"
    radius: LinfRadius = 4 / 255
    levels: int = 256

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels; nothing is random."""
        points = pixels.detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = Rescaled(pixels)(model(points), torch.arange(len(pixels), device=pixels.device))
            loss = criterion.cross_entropy(logits).sum()
        (gradient,) = torch.autograd.grad(loss, points)
        return (pixels + whole_levels(self.radius, self.levels) * gradient.sign()).clamp(0, 1)


@dataclass(frozen=True)
class _FromRandomStarts(Bounded):
    """PGD in any ball: steps are a share of the radius, starts are uniform in the ball."""

    radius: float
    steps: Count = 20
    step_size: Positive = 0.25
    restarts: Count = 1
    random_start: bool = True
    stop_early: bool = True
    levels: int = 256

    @abstractmethod
    def _ball(self, pixels: Tensor) -> LinfBall | L2Ball:
        """Where the changed pixels may be."""

    @abstractmethod
    def _inside(self, streams: Streams, rows: Tensor, shape: torch.Size) -> Tensor:
        """(n, *shape) changes, anywhere in the ball."""

    @abstractmethod
    def _update(self) -> UpdateRule:
        """A step."""

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels."""
        streams = Streams.split(seeded(rng), len(pixels))

        def start(rows: Tensor) -> Tensor:
            if not self.random_start:
                return pixels[rows]
            return (pixels[rows] + self._inside(streams, rows, pixels.shape[1:])).clamp(0, 1)

        search = Search(
            norm=self.norm,
            radius=self.radius,
            loss=lambda criterion, logits: criterion.cross_entropy(logits),
            start=start,
            update=lambda _: self._update(),
            ball=lambda rows: self._ball(pixels[rows]),
            steps=self.steps,
            restarts=self.restarts,
            stop_early=self.stop_early,
            levels=self.levels,
        )
        return search(model, pixels, criterion)


@dataclass(frozen=True)
class PGD(_FromRandomStarts):
    """Projected gradient ascent in the Linf ball, from random starts (Madry et al. 2018, arXiv:1706.06083).

    Attributes:
        radius: largest change of a channel, pixels in [0, 1].
        steps: gradient steps per start.
        step_size: length of a step as a share of the radius.
        restarts: number of starts; an image that has succeeded leaves the batch.
        random_start: start at a random point of the ball; otherwise at the image.
        stop_early: an image leaves the batch once it succeeds; otherwise it takes all steps.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    norm: ClassVar[Norm] = "linf"
    common: ClassVar[bool] = True
    radius: LinfRadius = 4 / 255

    @property
    def _whole(self) -> float:
        return whole_levels(self.radius, self.levels)

    def _ball(self, pixels: Tensor) -> LinfBall:
        return LinfBall(pixels, self._whole)

    def _inside(self, streams: Streams, rows: Tensor, shape: torch.Size) -> Tensor:
        return streams.uniform(rows, *shape, low=-self._whole, high=self._whole)

    def _update(self) -> Sign:
        return Sign(self.step_size * self._whole)


@dataclass(frozen=True)
class PGDL2(_FromRandomStarts):
    """Projected gradient ascent in the Euclidean ball, from random starts (Madry et al. 2018, arXiv:1706.06083).

    Attributes:
        radius: Euclidean length of the change, pixels in [0, 1].
        steps: gradient steps per start.
        step_size: length of a step as a share of the radius.
        restarts: number of starts; an image that has succeeded leaves the batch.
        random_start: start at a random point of the ball; otherwise at the image.
        stop_early: an image leaves the batch once it succeeds; otherwise it takes all steps.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    name: ClassVar[str] = "pgd-l2"
    norm: ClassVar[Norm] = "l2"
    radius: Positive = 1.0

    def _ball(self, pixels: Tensor) -> L2Ball:
        return L2Ball(pixels, self.radius)

    def _inside(self, streams: Streams, rows: Tensor, shape: torch.Size) -> Tensor:
        direction = streams.normal(rows, *shape)
        length = self.radius * streams.uniform(rows) ** (1 / shape.numel())  # uniform in the ball's volume
        return direction * (length / direction.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)

    def _update(self) -> Normalised:
        return Normalised(self.step_size * self.radius)


@dataclass(frozen=True)
class MomentumPGD(Bounded):
    """PGD along the sign of the summed, normalised gradients (MI-FGSM: Dong et al. 2018, arXiv:1710.06081).

    Its examples transfer better to other networks than those of plain PGD.

    Attributes:
        radius: largest change of a channel, pixels in [0, 1].
        steps: gradient steps.
        step_size: length of a step as a share of the radius.
        decay: share of the summed gradients that is kept at each step.
        stop_early: an image leaves the batch once it succeeds; otherwise it takes all steps.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    norm: ClassVar[Norm] = "linf"
    radius: LinfRadius = 4 / 255
    steps: Count = 10
    step_size: Positive = 0.25
    decay: float = 1.0
    stop_early: bool = True
    levels: int = 256

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels; nothing is random."""
        radius = whole_levels(self.radius, self.levels)
        search = Search(
            norm="linf",
            radius=radius,
            loss=lambda criterion, logits: criterion.cross_entropy(logits),
            start=lambda rows: pixels[rows],
            update=lambda _: Momentum(Sign(self.step_size * radius), self.decay),
            ball=lambda rows: LinfBall(pixels[rows], radius),
            steps=self.steps,
            stop_early=self.stop_early,
            levels=self.levels,
        )
        return search(model, pixels, criterion)
