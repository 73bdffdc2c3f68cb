"""Eigen-CAM: the feature map along its first principal component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.class_activation import enlarge
from deepscope.attributions.engine import batches
from deepscope.models.capabilities import GRADIENTS, LAYERS, Needs
from deepscope.models.feature_map import as_map, feature_layer
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class EigenCAM(Attribution):
    """The last feature map along its first principal component; the same map for every class.

    One forward pass. It shows what stands out in the features, not what supports a class. A principal component has no
    sign of its own: it gets the one that makes the largest absolute value positive (Chung and Ying 2025,
    "Seg-Eigen-CAM"). Negative values are set to 0.

    Muhammad and Yeasin 2020, "Eigen-CAM: Class Activation Map using Principal Components".

    Attributes:
        layer: the layer whose output is projected; by default the last with a feature map.
    """

    needs: ClassVar[Needs] = GRADIENTS | LAYERS
    of_class: ClassVar[bool] = False

    layer: str = ""

    @torch.no_grad()
    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) maps, enlarged bilinearly from the layer's.

        Raises:
            UnsupportedError: the network has no feature map.
            SettingError: `layer` gives none.
        """
        layer = self.layer or feature_layer(model, pixels)

        def projected(rows: slice) -> Tensor:
            part = pixels[rows].contiguous(memory_format=torch.channels_last)
            return projection(as_map(model, layer, model.activations(part, [layer])[layer], part))

        maps = pixels.new_empty(len(pixels), *pixels.shape[-2:])
        for rows, part in batches(len(pixels), pixels.device, projected):
            maps[rows] = enlarge(part.to(pixels).relu(), pixels)
        return maps


def projection(features: Tensor) -> Tensor:
    """(N, C, h, w) features -> (N, h, w), centred and along their first principal component over the positions."""
    points = features.flatten(2).transpose(1, 2)
    points = points - points.mean(1, keepdim=True)
    direction = torch.linalg.svd(points, full_matrices=False).Vh[:, 0]
    found = torch.einsum("npc,nc->np", points, direction)
    flipped = found.amin(1).abs() > found.amax(1).abs()
    return torch.where(flipped[:, None], -found, found).unflatten(1, features.shape[2:])
