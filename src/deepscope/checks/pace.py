"""How long checks take: the work that each does, and how quickly this model does it here."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deepscope.checks.held_out import HeldOut
from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.models.prediction import forward
from deepscope.session import Session

_IMAGES = 4
"""Images of a timed pass."""
_REPEATS = 3
"""Timed passes of each kind."""


@dataclass(frozen=True)
class Work:
    """What a check does.

    Attributes:
        passes: forward passes of one image.
        gradients: forward and backward passes of one image.
        seconds: of one core, for everything else: images are opened, damaged, compared, drawn.
    """

    passes: float = 0.0
    gradients: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Pace:
    """How quickly a model runs here, and how many images and classes there are.

    Attributes:
        images: that the model is evaluated on.
        train: that it was fitted to, where they are known.
        classes: of the model.
        forward: seconds per image of a forward pass.
        gradient: seconds per image of a forward and a backward pass.
    """

    images: int
    train: int
    classes: int
    forward: float
    gradient: float

    @classmethod
    def of(cls, held: HeldOut, session: Session) -> Pace:
        """Time some passes of each kind, after one that prepares the network."""
        model = held.model
        pixels = torch.rand(
            _IMAGES, model.planes, *model.preprocessing.size, generator=torch.Generator().manual_seed(0)
        )
        plain = _seconds(lambda: forward(model, pixels, session)) / _IMAGES
        try:
            gradient = _seconds(lambda: _gradient(model, pixels)) / _IMAGES
        except (DeepscopeError, RuntimeError):  # a black box, or memory for one image at a time
            gradient = plain
        train = 0 if held.train is None else held.train.count or 0
        return cls(held.images.count or 0, train, len(model.categories), plain, max(plain, gradient))

    def minutes(self, work: Work) -> float:
        """How long the work takes."""
        return (work.passes * self.forward + work.gradients * self.gradient + work.seconds) / 60


def _seconds(run: Callable[[], object]) -> float:
    """The quickest of several passes: on a machine that other programs share, one alone may have waited for long."""
    run()
    return min(timeit.repeat(run, number=1, repeat=_REPEATS))


def _gradient(model: VisionModel, pixels: Tensor) -> None:
    points = pixels.to(model.device).requires_grad_()
    with torch.enable_grad():
        torch.autograd.grad(model(points).sum(), points)
