"""`Measure`: the family of measures of how far a map can be trusted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.models.vision_model import VisionModel
from deepscope.registry import Registered


@dataclass(frozen=True)
class Explanation:
    """Maps of N images, and how they were computed.

    Attributes:
        model: the classifier that was explained.
        pixels: (N, 3, H, W) in [0, 1].
        target: (N,) the classes that were explained.
        maps: (N, H, W), one value per pixel.
        explain: (N, 3, H, W) changed images -> (N, H, W) maps of the same classes, with the same random numbers in
            each call.
        rng: CPU generator of the measure; noise takes one seed per image from it, in order.
    """

    model: VisionModel
    pixels: Tensor
    target: Tensor
    maps: Tensor
    explain: Callable[[Tensor], Tensor]
    rng: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))


class Measure(Registered):
    """Base of the measures; each is a frozen dataclass whose fields are its settings."""

    higher_is_better: ClassVar[bool]

    @abstractmethod
    def __call__(self, given: Explanation) -> Tensor:
        """One number per image: (N,) floats, NaN where the measure does not apply to a map."""
