"""`Attack`: the family of methods that change an image until a network sees something else in it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import is_dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from deepscope.attacks.goals import Goal
from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.models.differentiable import differentiable
from deepscope.registry import Registered

Norm: TypeAlias = Literal["l0", "l2", "linf"]
"""How a change is measured: changed pixels, Euclidean length, largest change of a channel (pixels in [0, 1])."""


class Attack(Registered):
    """A way to make adversarial examples. An attack's own word is not trusted: `judge` decides what succeeded."""

    norm: ClassVar[Norm]
    """What the attack keeps small."""
    exact: ClassVar[bool] = False
    """Whether it goes by differences of logits that bfloat16 does not show, and so does without it."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name in ("__call__", "fit"):
            if name in cls.__dict__:
                setattr(cls, name, differentiable(cls.__dict__[name]))

    @abstractmethod
    def __call__(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """Perturbed pixels.

        Args:
            model: the network under attack.
            pixels: (N, 3, H, W) in [0, 1], on the grid of 8-bit images where the result shall be saved.
            goal: what counts as success, one row an image.
            rng: the source of all randomness.

        Returns:
            (N, 3, H, W) in [0, 1]; a row that did not succeed may be anything within the attack's bounds.

        Raises:
            DeepscopeError: the model has no class layer.
        """


class Bounded(Attack):
    """An attack that stays within a radius of the image, measured in its norm. The others minimise the change."""

    bound: ClassVar[str] = "radius"
    """The field that holds the radius."""

    @property
    def reach(self) -> float:
        """The radius."""
        return float(getattr(self, self.bound))

    def within(self, radius: float) -> Bounded:
        """The same attack at another radius."""
        assert is_dataclass(self)
        return replace(self, **{self.bound: type(getattr(self, self.bound))(radius)})


class Shared(Attack):
    """One perturbation learnt from many images, to be laid on any image."""

    @abstractmethod
    def fit(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """The perturbation learnt from (N, 3, H, W) pixels."""

    @abstractmethod
    def apply(self, perturbation: Tensor, pixels: Tensor, *, rng: torch.Generator) -> Tensor:
        """(N, 3, H, W) pixels with the perturbation laid on."""

    def __call__(self, model: VisionModel, pixels: Tensor, goal: Goal, *, rng: torch.Generator) -> Tensor:
        """Perturbed pixels, the perturbation learnt from these same images."""
        return self.apply(self.fit(model, pixels, goal, rng=rng), pixels, rng=rng)


def require_positive(**settings: float) -> None:
    """Raises DeepscopeError where a setting is not above 0: an attack without reach or steps attacks nothing."""
    for name, value in settings.items():
        if not value > 0:
            raise DeepscopeError(f"{name.replace('_', ' ')} is {value:g}, which attacks nothing: give a number above 0")


def distance(changed: Tensor, pixels: Tensor, norm: Norm) -> Tensor:
    """(N,) how far `changed` is from `pixels`, both (N, 3, H, W) in [0, 1].

    L0 counts pixels, not channels; L2 and Linf are in pixel units, so 1/255 is one grey level.
    """
    change = changed - pixels
    if norm == "l0":
        return (change.abs().amax(1) > 0.25 / 255).flatten(1).sum(1).to(pixels)
    return change.flatten(1).norm(dim=1) if norm == "l2" else change.abs().flatten(1).amax(1)
