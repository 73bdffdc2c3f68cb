"""Finer-CAM: Grad-CAM of what tells a class from similar ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.class_activation import enlarge
from deepscope.attributions.engine import batches
from deepscope.attributions.feature_map import feature_layer, with_gradient
from deepscope.models.capabilities import GRADIENTS, LAYERS, Needs
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count, Share


@dataclass(frozen=True)
class FinerCAM(Attribution):
    """Grad-CAM of the difference between the score of the class and those of the most similar classes.

    Similar are the classes whose logits are nearest to that of the class on this image. Their logits are averaged,
    weighted by their probabilities. Where two classes are contrasted, the other one is the only similar class.

    Zhang et al. 2025, "Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation".

    Attributes:
        similar: number of similar classes.
        strength: how much of their scores is subtracted; with 0 it is Grad-CAM.
        layer: the layer whose output is weighted; by default the last with a feature map.
    """

    needs: ClassVar[Needs] = GRADIENTS | LAYERS

    similar: Count = 3
    strength: Share = 1.0
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

        def weighted(rows: slice) -> Tensor:
            found = with_gradient(model, layer, pixels[rows], lambda logits: self._score(logits, target[rows]))
            return torch.einsum("nchw,nc->nhw", found[0], found[1].mean((2, 3)))

        maps = pixels.new_empty(len(pixels), *pixels.shape[-2:])
        for rows, part in batches(len(pixels), pixels.device, weighted):
            maps[rows] = enlarge(part.relu(), pixels)
        return maps

    def _score(self, logits: Tensor, target: Tensor) -> Tensor:
        """(N, classes) logits -> (N,) differences."""
        own = logits.gather(1, target[:, None])
        distance = (logits.detach() - own.detach()).abs().scatter(1, target[:, None], torch.inf)
        count = min(self.similar, logits.shape[1] - 1)
        others = logits.gather(1, distance.topk(count, dim=1, largest=False).indices)
        return own[:, 0] - self.strength * (others.softmax(1) * others).sum(1)
