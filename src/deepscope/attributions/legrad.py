"""LeGrad: the gradient of class scores with respect to attention, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attention import OfAttention
from deepscope.models.attention_blocks import gradients_after_blocks
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class LeGrad(OfAttention):
    """How much more attention to each patch would raise the class score, summed over the blocks.

    The output of every block is scored as that of the last one is, by norm, pooling and class layer. The gradient of
    this score with respect to the block's own attention, where it is positive, is averaged over heads and queries;
    the map is the mean over the blocks. Where the network pools by attention, the attention of the pooling counts. One
    forward and one backward pass; for transformers whose tokens all attend to one another.

    Bousselham et al. 2024, "LeGrad: An Explainability Method for Vision Transformers via Feature Formation
    Sensitivity".

    Example:
        >>> import torch
        >>> import deepscope as ds
        >>> from timm.models import VisionTransformer
        >>> network = VisionTransformer(64, 16, num_classes=2, embed_dim=24, depth=2, num_heads=2)
        >>> model = ds.wrap(network, ["cat", "dog"], preprocessing=ds.models.Preprocessing(64, 64))
        >>> LeGrad()(model, torch.rand(1, 3, 64, 64), torch.tensor([0])).shape
        torch.Size([1, 64, 64])
    """

    name: ClassVar[str] = "legrad"

    def relevance(self, model: VisionModel, pixels: Tensor, target: Tensor, read: Tensor) -> Tensor:
        """(N, tokens) mean positive gradients; those of all queries count, whichever ones the class scores read."""
        gradients = gradients_after_blocks(model, pixels, target)
        return torch.stack([one.clamp_min(0).mean((1, 2)) for one in gradients]).mean(0)
