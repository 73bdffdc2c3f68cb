"""Score-CAM: class activation maps without a gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.class_activation import enlarge
from deepscope.attributions.engine import batches, prepared, scores
from deepscope.models.capabilities import GRADIENTS, LAYERS, Needs
from deepscope.models.fast_backward import FastBackward
from deepscope.models.feature_map import as_map, feature_layer
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class ScoreCAM(Attribution):
    """The last feature map, each channel weighted by the score of the image seen through that channel alone.

    One forward pass per channel and image: 512 for SqueezeNet. Needs no gradient.

    Wang et al. 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks".

    Attributes:
        layer: the layer whose output is weighed; found by itself where empty.
    """

    needs: ClassVar[Needs] = GRADIENTS | LAYERS
    costly: ClassVar[bool] = True

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
        fast = prepared(model, pixels)
        for index in range(len(pixels)):
            maps[index] = _one(model, layer, pixels[index : index + 1], target[index : index + 1], fast)
        return maps


@torch.no_grad()
def _one(model: VisionModel, layer: str, pixels: Tensor, target: Tensor, fast: FastBackward) -> Tensor:
    """One image's (1, H, W) map."""
    channels = as_map(model, layer, model.activations(pixels, [layer])[layer], pixels)[0]
    low, high = channels.amin((1, 2), keepdim=True), channels.amax((1, 2), keepdim=True)
    windows = (channels - low) / (high - low).clamp_min(1e-8)

    def scored(rows: slice) -> Tensor:
        seen = enlarge(windows[rows], pixels)[:, None] * pixels
        return model.objective(scores(model, seen, fast), target.expand(len(seen)))

    found = torch.cat([part for _, part in batches(len(windows), pixels.device, scored)])
    weighed = torch.einsum("chw,c->hw", channels, found.softmax(0))
    return enlarge(weighed.relu()[None], pixels)
