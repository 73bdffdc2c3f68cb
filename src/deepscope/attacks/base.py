"""`Attack`: the family of methods that change an image until a model classifies it as something else."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import is_dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from deepscope.attacks.criteria import Criterion
from deepscope.batch.sharding import OF_PARTS
from deepscope.errors import SettingError
from deepscope.models import VisionModel
from deepscope.models.capabilities import RGB, Needs, UsesModel, matched
from deepscope.models.differentiable import differentiable
from deepscope.registry import EVERY_COMMAND, ON_IMAGES, Registered
from deepscope.settings import LINF_RADIUS, check

Norm: TypeAlias = Literal["l0", "l1", "l2", "linf"]
"""How a change is measured: changed pixels, sum of absolute changes of all channels, Euclidean length, largest change
of a channel (pixels in [0, 1])."""


class Attack(UsesModel, Registered):
    """Makes adversarial examples. `evaluator.evaluate` decides which of them succeeded."""

    all_need: ClassVar[Needs] = RGB
    verb: ClassVar[str] = "attack"
    norm: ClassVar[Norm]
    """What the attack keeps small."""
    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND | ON_IMAGES | OF_PARTS | {"animate"}
    exact: ClassVar[bool] = False
    """Whether it depends on differences of logits that are too small for bfloat16, and always runs in float32."""
    pooled: ClassVar[bool] = False
    """Whether the queries of many images share forward passes, which `ask` cuts: it is given more than a batch."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name in ("__call__", "fit"):
            if name in cls.__dict__:
                setattr(cls, name, matched(differentiable(cls.__dict__[name])))

    def __post_init__(self) -> None:
        check(self)
        if getattr(self, "levels", 0) == 1:
            raise SettingError("levels", "must be at least 2, or 0 for no rounding", got=1)

    @abstractmethod
    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels.

        Args:
            model: the network under attack.
            pixels: (N, 3, H, W) in [0, 1]; multiples of 1/255 where the result is to be saved.
            criterion: what counts as a success, one row per image.
            rng: the source of all randomness; a generator seeded with 0 where None.

        Returns:
            (N, 3, H, W) in [0, 1]; a row that did not succeed may be anything within the attack's bounds.

        Raises:
            ModelError: the model has no class layer.
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
        """The same attack with another radius.

        Raises:
            SettingError: the radius is out of range.
        """
        assert is_dataclass(self)
        return replace(self, **{self.bound: type(getattr(self, self.bound))(radius)})


RADII_BY_NORM: dict[str, float] = {"linf": 4 / 255, "l2": 1.0, "l1": 12.0}
"""The radius of an attack that takes several norms, where none is given."""


class InNorm(Bounded):
    """A bounded attack whose norm is a setting. Its radius is the usual one of the norm where it is None."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if getattr(self, self.bound) is None:
            object.__setattr__(self, self.bound, RADII_BY_NORM[self.norm])
        if self.norm == "linf":
            LINF_RADIUS.check(self.bound, self.reach)


class Shared(Attack):
    """One perturbation learnt from many images, to be applied to any image."""

    @abstractmethod
    def fit(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """The perturbation learnt from (N, 3, H, W) pixels."""

    @abstractmethod
    def apply(self, perturbation: Tensor, pixels: Tensor, *, rng: torch.Generator | None = None) -> Tensor:
        """(N, 3, H, W) pixels with the perturbation applied."""

    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Perturbed pixels, the perturbation learnt from these same images."""
        rng = seeded(rng)
        return self.apply(self.fit(model, pixels, criterion, rng=rng), pixels, rng=rng)


def seeded(rng: torch.Generator | None) -> torch.Generator:
    """The caller's generator; where there is none, a new one seeded with 0."""
    return torch.Generator().manual_seed(0) if rng is None else rng


def distance(changed: Tensor, pixels: Tensor, norm: Norm) -> Tensor:
    """(N,) how far `changed` is from `pixels`, both (N, 3, H, W) in [0, 1].

    L0 counts pixels, not channels; the others are in pixel units, so 1/255 is one grey level.
    """
    change = changed - pixels
    if norm == "l0":
        return (change.abs().amax(1) > 0.25 / 255).flatten(1).sum(1).to(pixels)
    return length(change, norm)


def length(change: Tensor, norm: Norm) -> Tensor:
    """(N,) how long changes (N, ...) are in L1, L2 or Linf."""
    flat = change.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1)
    return flat.norm(dim=1) if norm == "l2" else flat.abs().sum(1)
