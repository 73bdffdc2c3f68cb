"""Random views, so that the image does not depend on single pixels: shifts, zooms, rotations and flips."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from deepscope.ascent import Streams

View: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(pixels (n, 3, H, W), rows (n,)) -> what the network sees of them, differentiable."""


@dataclass(frozen=True)
class Jitter:
    """A shift to the right and down by 0 to `most` pixels, wrapping around.

    Attributes:
        streams: one random stream per row.
        most: the largest shift.
    """

    streams: Streams
    most: int

    def __call__(self, pixels: Tensor, rows: Tensor, /) -> Tensor:
        """Shifted images."""
        shifts = self.streams.integers(rows, self.most + 1, 2).tolist()
        return torch.stack([image.roll((down, right), (1, 2)) for image, (down, right) in zip(pixels, shifts)])


@dataclass(frozen=True)
class RandomView:
    """A square of random place and size, rotated and perhaps mirrored, resampled to `side` pixels.

    Attributes:
        streams: one random stream per row.
        side: height and width of the view.
        zoom: the square's side is this share of the image's side to all of it.
        rotation: degrees, in both directions.
        flip: mirror half of the views.
    """

    streams: Streams
    side: int
    zoom: float = 1.0
    rotation: float = 0.0
    flip: bool = False

    def __call__(self, pixels: Tensor, rows: Tensor, /) -> Tensor:
        """(n, 3, side, side): a rotated view that reaches beyond the image sees it mirrored."""
        share, turn, mirror, down, right = self.streams.uniform(rows, 5).to(pixels.dtype).unbind(1)
        share = self.zoom + (1 - self.zoom) * share
        angle = math.radians(self.rotation) * (2 * turn - 1)
        sign = torch.where(mirror < 0.5, -1.0, 1.0).to(pixels) if self.flip else torch.ones_like(share)
        room = 1 - share
        across = torch.stack([share * angle.cos() * sign, -share * angle.sin(), room * (2 * right - 1)], 1)
        along = torch.stack([share * angle.sin() * sign, share * angle.cos(), room * (2 * down - 1)], 1)
        grid = F.affine_grid(torch.stack([across, along], 1), [len(pixels), 3, self.side, self.side], False)
        return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
