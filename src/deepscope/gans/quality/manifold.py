"""Improved precision and recall (Kynkaanniemi et al. 2019): the quality of the samples, and their coverage."""

from __future__ import annotations

import torch
from torch import Tensor

from deepscope.errors import DataError

_AT_ONCE = 1000


def precision_recall(real: Tensor, fake: Tensor, *, neighbours: int = 3) -> tuple[float, float]:
    """The share of generated images inside the real manifold, and of real ones inside the generated one.

    A set's manifold is a ball around each of its points, reaching to its `neighbours`-th nearest other point.

    Args:
        real, fake: features (N, D) and (M, D).
        neighbours: of a point.

    Raises:
        DataError: a set has no more points than `neighbours`.
    """
    if min(len(real), len(fake)) <= neighbours:
        raise DataError(f"precision and recall need more than {neighbours} images on each side")
    return _inside(fake, real, neighbours), _inside(real, fake, neighbours)


def _inside(points: Tensor, centres: Tensor, neighbours: int) -> float:
    """The share of points in at least one of the centres' balls."""
    radii = torch.cat(
        [
            torch.cdist(part, centres).kthvalue(neighbours + 1, dim=1).values  # the nearest point is itself
            for part in centres.split(_AT_ONCE)
        ]
    )
    inside = [(torch.cdist(part, centres) <= radii).any(1) for part in points.split(_AT_ONCE)]
    return float(torch.cat(inside).float().mean())
