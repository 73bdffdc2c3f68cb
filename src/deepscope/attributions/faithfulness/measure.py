"""`Measure`: the family of numbers that say how far a map can be trusted."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from deepscope.models.vision_model import VisionModel
from deepscope.registry import Registered

Explain: TypeAlias = Callable[[Tensor], Tensor]
"""(N, 3, H, W) pixels -> (N, H, W) maps of the same target classes, with the same random numbers in each call."""


class Measure(Registered):
    """Base of the measures; each is a frozen dataclass whose fields are its settings."""

    higher_is_better: ClassVar[bool]

    @abstractmethod
    def __call__(
        self,
        model: VisionModel,
        pixels: Tensor,
        target: Tensor,
        maps: Tensor,
        *,
        explain: Explain,
        rng: torch.Generator,
    ) -> Tensor:
        """One number an image.

        Args:
            model: the classifier that was explained.
            pixels: (N, 3, H, W) in [0, 1].
            target: (N,) the classes that were explained.
            maps: (N, H, W), one value a pixel.
            explain: makes maps of changed images.
            rng: CPU generator; noise takes one seed an image from it, in order.

        Returns:
            (N,) float tensor.
        """
