"""Attention rollout: the attention of all blocks multiplied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attention import OfAttention, identity
from deepscope.models.attention import matrices
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class AttentionRollout(OfAttention):
    """How much attention reaches each patch through all blocks; the same map for every class.

    Every block's matrix is averaged over its heads, the identity is added for the residual connection, rows are
    scaled to sum 1, and the matrices are multiplied. One forward pass; for transformers whose tokens all attend to one
    another. It shows where the network looks, not what supports a class.

    Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers".

    Example:
        >>> import torch
        >>> import deepscope as ds
        >>> from timm.models import VisionTransformer
        >>> network = VisionTransformer(64, 16, num_classes=2, embed_dim=24, depth=2, num_heads=2)
        >>> model = ds.wrap(network, ["cat", "dog"], preprocessing=ds.models.Preprocessing(64, 64))
        >>> AttentionRollout()(model, torch.rand(1, 3, 64, 64), torch.tensor([0])).shape
        torch.Size([1, 64, 64])
    """

    of_class: ClassVar[bool] = False

    @torch.no_grad()
    def relevance(self, model: VisionModel, pixels: Tensor, target: Tensor, read: Tensor) -> Tensor:
        """(N, tokens): the queries' mean in the product of the averaged matrices."""
        found, _ = matrices(model, pixels)
        rolled = identity(found[0])
        for matrix in found:
            mean = matrix.mean(1)
            if mean.shape[1] == mean.shape[2]:  # the query of a pooling has no residual connection
                mean = mean + identity(mean)
            rolled = mean / mean.sum(2, keepdim=True) @ rolled
        return rolled[:, read].mean(1)
