"""Finer-CAM: Grad-CAM of what tells a class from similar ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.class_activation import enlarge
from deepscope.attributions.engine import batches
from deepscope.models.capabilities import GRADIENTS, LAYERS, Needs
from deepscope.models.feature_map import feature_layer, with_gradient
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count, Share


@dataclass(frozen=True)
class FinerCAM(Attribution):
    """Grad-CAM of the difference between the score of the class and those of the most similar classes.

    Similar are the classes whose logits are nearest to that of the class on this image. Their scores are averaged,
    weighted by their probabilities, which are those of the model's head. Where two classes are contrasted, the other
    one is the only similar class. With one class, it is Grad-CAM.

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
            found = with_gradient(model, layer, pixels[rows], lambda logits: self._score(model, logits, target[rows]))
            return torch.einsum("nchw,nc->nhw", found[0], found[1].mean((2, 3)))

        maps = pixels.new_empty(len(pixels), *pixels.shape[-2:])
        for rows, part in batches(len(pixels), pixels.device, weighted):
            maps[rows] = enlarge(part.relu(), pixels)
        return maps

    def _score(self, model: VisionModel, logits: Tensor, target: Tensor) -> Tensor:
        """(N, classes) logits -> (N,) differences."""
        own = model.objective(logits, target)
        count = min(self.similar, logits.shape[1] - 1)
        if not count:
            return own
        distance = (logits - logits.gather(1, target[:, None])).detach().abs().scatter(1, target[:, None], torch.inf)
        similar = distance.topk(count, dim=1, largest=False).indices.flatten()
        of_each = logits.repeat_interleave(count, 0)
        others = model.objective(of_each, similar).view(-1, count)
        weights = model.log_probability(of_each, similar).view(-1, count).softmax(1)
        return own - self.strength * (weights * others).sum(1)
