"""RISE: the mean of random masks, each weighted by the probability of the class behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from deepscope.attributions.attribution import Attribution, image_seeds
from deepscope.attributions.engine import batches, prepared, probability
from deepscope.models.capabilities import SCORES, Needs
from deepscope.models.vision_model import VisionModel
from deepscope.settings import Count, PositiveShare, Range


@dataclass(frozen=True)
class RISE(Attribution):
    """The mean of random masks, each weighted by the probability of the class behind it.

    Uses only the network's outputs. One forward pass per mask and image.

    Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models".

    Attributes:
        masks: random masks per image.
        cells: cells along each side of the coarse grid that a mask is enlarged from.
        visible: probability that a cell is visible.
    """

    needs: ClassVar[Needs] = SCORES
    costly: ClassVar[bool] = True

    masks: Count = 1000
    cells: Annotated[int, Range(1, 1024)] = 7
    visible: PositiveShare = 0.5

    def __call__(
        self, model: VisionModel, pixels: Tensor, target: Tensor, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """(N, H, W) expected probabilities of the class, given that the pixel is visible."""
        seeds = image_seeds(len(pixels), self.masks, rng).flatten().tolist()
        image = torch.arange(len(pixels), device=pixels.device).repeat_interleave(self.masks)
        height, width = pixels.shape[-2:]
        maps = pixels.new_zeros(len(pixels), height, width)
        fast = prepared(model, pixels)

        def weighted(rows: slice) -> Tensor:
            masks = torch.stack([self.mask(height, width, seed) for seed in seeds[rows]]).to(pixels)
            seen = probability(model, pixels[image[rows]] * masks[:, None], target[image[rows]], fast)
            return masks * seen[:, None, None]

        for rows, found in batches(len(image), pixels.device, weighted):
            maps.index_add_(0, image[rows], found)
        return maps / (self.masks * self.visible)

    def mask(self, height: int, width: int, seed: int) -> Tensor:
        """An (H, W) mask in [0, 1]: a random grid, enlarged by one cell more than needed and shifted at random."""
        rng = torch.Generator().manual_seed(seed)
        cell_height, cell_width = math.ceil(height / self.cells), math.ceil(width / self.cells)
        grid = (torch.rand(1, 1, self.cells, self.cells, generator=rng) < self.visible).float()
        size = ((self.cells + 1) * cell_height, (self.cells + 1) * cell_width)
        large = F.interpolate(grid, size, mode="bilinear", align_corners=False)[0, 0]
        top = int(torch.randint(cell_height, (1,), generator=rng))
        left = int(torch.randint(cell_width, (1,), generator=rng))
        return large[top : top + height, left : left + width]
