"""Rotation and translation: the worst of a number of random draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.ascent import Streams
from deepscope.attacks.base import Attack, Norm, seeded
from deepscope.attacks.counting import ask
from deepscope.attacks.criteria import Criterion
from deepscope.attacks.grid import rounded
from deepscope.models import VisionModel
from deepscope.models.capabilities import SCORES, Needs
from deepscope.settings import Count, Range, Share


@dataclass(frozen=True)
class Spatial(Attack):
    """The worst of random rotations and translations, with black where the image ends (Engstrom et al. 2019).

    arXiv:1712.02779. The change of pixels is large in every norm, and looks harmless.

    Attributes:
        rotation: largest rotation in either direction, in degrees.
        shift: largest translation in each direction, as a share of the side.
        draws: transformations tried per image; an image that has succeeded leaves the batch.
        levels: grey levels of the saved image; 0 does not round pixels to levels.
    """

    needs: ClassVar[Needs] = SCORES
    norm: ClassVar[Norm] = "l2"
    exact: ClassVar[bool] = True
    pooled: ClassVar[bool] = True
    rotation: Annotated[float, Range(most=180)] = 30.0
    shift: Share = 0.1
    draws: Count = 50
    levels: int = 256

    @torch.no_grad()
    def __call__(
        self, model: VisionModel, pixels: Tensor, criterion: Criterion, *, rng: torch.Generator | None = None
    ) -> Tensor:
        """Rotated and shifted pixels."""
        streams, found = Streams.split(seeded(rng), len(pixels)), pixels.clone()
        worst = pixels.new_full((len(pixels),), -torch.inf)
        for _ in range(self.draws):
            rows = (worst <= 0).nonzero()[:, 0]
            if not len(rows):
                break
            drawn = streams.uniform(rows, 3, low=-1, high=1).to(pixels)
            moved = transformed(pixels[rows], self.rotation * drawn[:, 0], self.shift * drawn[:, 1:])
            moved = rounded(moved, self.levels)
            margin = criterion[rows].margin(ask(model, moved, rows))
            worse = margin > worst[rows]
            found[rows[worse]], worst[rows[worse]] = moved[worse], margin[worse]
        return found


def transformed(pixels: Tensor, degrees: Tensor, shift: Tensor) -> Tensor:
    """Images (N, 3, H, W) rotated anticlockwise, then moved right and down, bilinear, with black outside.

    Args:
        pixels: in [0, 1].
        degrees: (N,) of the rotation.
        shift: (N, 2) shares of the width and of the height.
    """
    height, width = pixels.shape[2:]
    turn = degrees * (math.pi / 180)
    cosine, sine = turn.cos(), turn.sin()
    x, y = -2 * shift[:, 0], -2 * shift[:, 1]  # in the grid's coordinates, from -1 to 1
    across = torch.stack([cosine, -sine * height / width, cosine * x - sine * y * height / width], 1)
    down = torch.stack([sine * width / height, cosine, sine * x * width / height + cosine * y], 1)
    grid = functional.affine_grid(torch.stack([across, down], 1), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False).clamp(0, 1)
