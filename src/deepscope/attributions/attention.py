"""What the attributions of transformers share: attention matrices in, one map per image out."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Attribution
from deepscope.attributions.class_activation import enlarge
from deepscope.attributions.engine import batches
from deepscope.models.attention import attended
from deepscope.models.capabilities import GRADIENTS, LAYERS, Needs
from deepscope.models.feature_map import require_layers
from deepscope.models.vision_model import VisionModel


@dataclass(frozen=True)
class OfAttention(Attribution):
    """Base of the methods that make a map of the attention between all tokens: one value per patch, enlarged."""

    needs: ClassVar[Needs] = GRADIENTS | LAYERS
    of_transformers: ClassVar[bool] = True
    example_flags: ClassVar[str] = "--model torchvision:vit_b_16"

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) maps, enlarged bilinearly from the grid of patches.

        Raises:
            UnsupportedError: the network does not consist of attention between all tokens.
        """
        require_layers(model)
        tokens = attended(model, pixels)
        read = torch.tensor(tokens.read, device=pixels.device)

        def grids(rows: slice) -> Tensor:
            relevance = self.relevance(model, pixels[rows], target[rows], read)
            return relevance[:, tokens.prefix :].unflatten(1, tokens.grid)

        maps = pixels.new_empty(len(pixels), *pixels.shape[-2:])
        for rows, part in batches(len(pixels), pixels.device, grids):
            maps[rows] = enlarge(part.to(pixels), pixels)
        return maps

    @abstractmethod
    def relevance(self, model: VisionModel, pixels: Tensor, target: Tensor, read: Tensor) -> Tensor:
        """(N, tokens): how much every token matters.

        Args:
            read: indices of the queries of the last attention that the class scores depend on: the class token where
                the network reads one, all patches where it averages them, the query of the pooling where it pools by
                attention.
        """


def identity(matrix: Tensor) -> Tensor:
    """(tokens, tokens) identity for (N, ..., queries, tokens) attention."""
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
