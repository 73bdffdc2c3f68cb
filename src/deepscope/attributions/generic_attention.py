"""Generic attention explainability: attention weighted by its gradient, gathered over the blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from deepscope.attributions.attention import OfAttention, identity
from deepscope.models.attention import matrices_with_gradients
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class GenericAttention(OfAttention):
    """How much each patch supports the class through the attention of all blocks.

    Every block's matrix is multiplied by the gradient of the class score with respect to it; what is positive, averaged
    over the heads, times the relevance so far is added to the relevance (the paper's rule for self-attention). What
    a token contributes to itself by the residual connection alone is left out, because it is the same for all patches.
    One forward and one backward pass; for transformers whose tokens all attend to one another.

    Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers".

    Example:
        >>> import torch
        >>> import deepscope as ds
        >>> from timm.models import VisionTransformer
        >>> network = VisionTransformer(64, 16, num_classes=2, embed_dim=24, depth=2, num_heads=2)
        >>> model = ds.wrap(network, ["cat", "dog"], preprocessing=ds.models.Preprocessing(64, 64))
        >>> GenericAttention()(model, torch.rand(1, 3, 64, 64), torch.tensor([0])).shape
        torch.Size([1, 64, 64])
    """

    def relevance(self, model: VisionModel, pixels: Tensor, target: Tensor, read: Tensor) -> Tensor:
        """(N, tokens): the queries' mean relevance, gathered from the first block to the last."""
        pairs = matrices_with_gradients(model, pixels, target)
        own = identity(pairs[0][0])
        gathered = own
        for matrix, gradient in pairs:
            weighted = (matrix * gradient).clamp_min(0).mean(1)
            if weighted.shape[1] != weighted.shape[2]:  # pooling by attention
                return (weighted @ gathered)[:, read].mean(1)
            gathered = gathered + weighted @ gathered
        return (gathered - own)[:, read].mean(1)
