"""Whether a generator repeats its training images: how close its samples are to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_AT_ONCE = 500
_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest training image of each of some images.

    Attributes:
        rows: (N,) int64 in the training set.
        distances: (N,) root mean square differences of pixels in [0, 1].
    """

    rows: Tensor
    distances: Tensor


def nearest(images: Tensor, train: Tensor) -> Nearest:
    """The nearest of `train` (M, C, H, W) uint8 for each of `images` (N, C, H, W) uint8.

    A part of the training set is compared at a time, so memory does not grow with M.
    """
    queries = images.flatten(1).float() / 255
    best = torch.full((len(queries),), torch.inf)
    rows = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(train), _AT_ONCE):
        part = train[start : start + _AT_ONCE].flatten(1).float() / 255
        distances, places = torch.cdist(queries, part).min(1)
        nearer = distances < best
        best = torch.where(nearer, distances, best)
        rows = torch.where(nearer, places + start, rows)
    return Nearest(rows, best / queries.shape[1] ** 0.5)


def memorised(samples: Nearest, real: Nearest) -> float:
    """The share of samples nearer to a training image than all but 1 % of held-out real images are.

    `memorised_by_chance` where samples are as new as real images; 1 for a generator that copies.
    """
    return float((samples.distances < real.distances.quantile(_SHARE)).float().mean())


def memorised_by_chance(held_out: int) -> float:
    """The share of new real images that `memorised` finds on average where this many images are held out.

    About 0.01 of 500. Where few are held out it is more: of five images, the nearest one is as near as a sixth of all.
    """
    return (_SHARE * (held_out - 1) + 1) / (held_out + 1)  # the place among n numbers, by a number's mean rank
