"""The energy-based pointing game: how much of a map lies on the object."""

from __future__ import annotations

from torch import Tensor


def energy_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """Share of each map's positive values that lies inside the object's box.

    Wang et al. 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks".

    Args:
        maps: (N, H, W).
        inside: (N, H, W) in [0, 1], how much of each pixel the box covers.

    Returns:
        (N,) in [0, 1]; NaN where a map has no positive value.
    """
    energy = maps.clamp_min(0)
    return (energy * inside).sum((1, 2)) / energy.sum((1, 2))
