"""Class activation maps: feature maps weighted by their gradients."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.engine import batches
from deepscope.models.capabilities import GRADIENTS, LAYERS, Needs
from deepscope.models.feature_map import feature_layer, with_gradient
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class ClassActivation(Attribution):
    """Base of the methods that weight a feature map by its gradient.

    Attributes:
        layer: the layer whose output is weighted; by default the last with a feature map.
    """

    needs: ClassVar[Needs] = GRADIENTS | LAYERS

    layer: str = ""

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) maps, enlarged bilinearly from the layer's.

        Raises:
            UnsupportedError: the network has no feature map.
            SettingError: `layer` gives none.
        """
        layer = self.layer or feature_layer(model, pixels)
        maps = pixels.new_empty(len(pixels), *pixels.shape[-2:])
        for rows, part in batches(
            len(pixels),
            pixels.device,
            lambda rows: self.weigh(
                *with_gradient(model, layer, pixels[rows], lambda logits: model.objective(logits, target[rows]))
            ),
        ):
            maps[rows] = enlarge(part.relu(), pixels)
        return maps

    @abstractmethod
    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """(N, C, h, w) activations and gradients -> (N, h, w) weighted sums over the channels."""


@dataclass(frozen=True)
class GradCAM(ClassActivation):
    """The last feature map, each channel weighted by its mean gradient; negative values are set to 0.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".

    Attributes:
        layer: the layer whose output is weighted; by default the last with a feature map.
    """

    common: ClassVar[bool] = True

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Weights are the gradients' means over the positions."""
        return torch.einsum("nchw,nc->nhw", activations, gradients.mean((2, 3)))


@dataclass(frozen=True)
class GradCAMPlusPlus(ClassActivation):
    """Grad-CAM that gives several objects of a class equal weight; only positive gradients count.

    Chattopadhay et al. 2018, "Grad-CAM++: Generalized Gradient-based Visual Explanations".

    Attributes:
        layer: the layer whose output is weighted; by default the last with a feature map.
    """

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Weights are positive gradients, summed with the paper's coefficients (its equation 19)."""
        squared = gradients.square()
        divisor = 2 * squared + activations.sum((2, 3), keepdim=True) * squared * gradients
        share = torch.where(divisor == 0, 0.0, squared / divisor)
        return torch.einsum("nchw,nc->nhw", activations, (share * gradients.relu()).sum((2, 3)))


@dataclass(frozen=True)
class LayerCAM(ClassActivation):
    """The feature map weighted by its positive gradient position by position; sharp in early layers too.

    Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization".

    Attributes:
        layer: the layer whose output is weighted; by default the last with a feature map.
    """

    def weigh(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Weights are each position's own positive gradient."""
        return (activations * gradients.relu()).sum(1)


def enlarge(maps: Tensor, pixels: Tensor) -> Tensor:
    """(N, h, w) maps -> (N, H, W), bilinear, of the pixels' size."""
    return F.interpolate(maps[:, None], pixels.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
