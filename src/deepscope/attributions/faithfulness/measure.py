"""`Measure`: the family of measures of how far a map can be trusted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from deepscope.attributions.engine import batches, prepared, probability
from deepscope.models.fast_backward import FastBackward
from deepscope.models.vision_model import VisionModel
from deepscope.registry import Registered

Shared = dict[Hashable, Any]
"""What several measures need, by name: predictions above all."""


def no_other_class(target: Tensor) -> Tensor:
    """Stands for maps of another class where no measure asks for them."""
    raise NotImplementedError


@dataclass(frozen=True)
class Explanation:
    """Maps of N images, and how they were computed.

    Attributes:
        model: the classifier that was explained.
        pixels: (N, 3, H, W) in [0, 1].
        target: (N,) the classes that were explained.
        maps: (N, H, W), one value per pixel.
        explain: (N, 3, H, W) images, changed or not -> (N, H, W) maps of the same classes, at the method's bounded
            cost (`Attribution.bounded`) and with the same random numbers in each call.
        rng: CPU generator of the measure; noise takes one seed per image from it, in order.
        explain_class: (N,) classes -> (N, H, W) maps of the same images, at a bounded cost and with the same random
            numbers.
        shared: what depends on the images and classes alone; explanations by several methods may have one.
        own: what depends on the maps too; measures of the same maps may have one.
    """

    model: VisionModel
    pixels: Tensor
    target: Tensor
    maps: Tensor
    explain: Callable[[Tensor], Tensor]
    rng: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))
    explain_class: Callable[[Tensor], Tensor] = no_other_class
    shared: Shared = field(default_factory=dict)
    own: Shared = field(default_factory=dict)

    @property
    def fast(self) -> FastBackward:
        """What is prepared for many passes of the model."""
        return self.of_images("fast", lambda: prepared(self.model, self.pixels))

    @property
    def comparable(self) -> Tensor:
        """(N, H, W) maps of the images as they are, to compare with others of `explain` and `explain_class`.

        Two maps of different accuracy would differ also where neither the image nor the class makes a difference.
        """
        return self.of_maps("comparable", lambda: self.explain(self.pixels))

    def of_images(self, name: Hashable, compute: Callable[[], Any]) -> Any:
        """What does not depend on the maps, computed once for all methods."""
        if name not in self.shared:
            self.shared[name] = compute()
        return self.shared[name]

    def of_maps(self, name: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """What several measures of the same maps need, computed once."""
        if name not in self.own:
            self.own[name] = compute()
        return self.own[name]


class Measure(Registered):
    """Base of the measures; each is a frozen dataclass whose fields are its settings."""

    higher_is_better: ClassVar[bool]

    def require(self, model: VisionModel) -> None:
        """Raises UnsupportedError where the measure does not apply to a model."""

    @abstractmethod
    def __call__(self, given: Explanation) -> Tensor:
        """One number per image: (N,) floats, NaN where the measure does not apply to a map."""


def probabilities(given: Explanation, pixels: Tensor) -> Tensor:
    """(N,) probabilities of the explained classes on other pixels."""

    def seen(rows: slice) -> Tensor:
        return probability(given.model, pixels[rows], given.target[rows], given.fast)

    return torch.cat([part for _, part in batches(len(pixels), pixels.device, seen)])
