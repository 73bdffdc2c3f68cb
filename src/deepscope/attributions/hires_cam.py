"""HiRes-CAM: the feature map times its gradient, position by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from deepscope.attributions.class_activation import ClassActivation


@dataclass(frozen=True)
class HiResCAM(ClassActivation):
    """The feature map times its gradient, summed over the channels; negative values are set to 0.

    Unlike Grad-CAM it does not average the gradient over the positions, so it shows only positions that raise the
    score. Where a linear layer follows the feature map, the values sum to the score without its bias before negative
    ones are set to 0.

    Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks".

    Attributes:
        layer: the layer whose output is weighted; by default the last with a feature map.
    """

    name: ClassVar[str] = "hires-cam"

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Weights are each position's own gradient."""
        return (activations * gradients).sum(1)
