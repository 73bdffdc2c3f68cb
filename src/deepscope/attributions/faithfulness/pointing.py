"""How much of a map lies on the object: the energy-based pointing game, and relevance rank accuracy."""

from __future__ import annotations

import torch
from torch import Tensor


def energy_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """Share of each map's positive values that lies on the object.

    Wang et al. 2020, "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks". It is called
    relevance mass accuracy by Arras, Osman and Samek 2022, "CLEVR-XAI: A benchmark dataset for the ground truth
    evaluation of neural network explanations".

    Args:
        maps: (N, H, W).
        inside: (N, H, W) in [0, 1], how much of each pixel the object covers.

    Returns:
        (N,) in [0, 1]; NaN where a map has no positive value.
    """
    energy = maps.clamp_min(0)
    return (energy * inside).sum((1, 2)) / energy.sum((1, 2))


def rank_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """Relevance rank accuracy: the share on the object of as many of the largest values as the object has pixels.

    Arras, Osman and Samek 2022, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural network
    explanations".

    Args:
        maps: (N, H, W).
        inside: (N, H, W) in [0, 1]; a pixel counts as the object's where more than half of it is covered.

    Returns:
        (N,) in [0, 1]; NaN where no pixel is the object's.
    """
    object_ = (inside > 0.5).flatten(1)
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    count = object_.sum(1, keepdim=True)
    first = torch.arange(order.shape[1], device=maps.device) < count
    hits = (object_.gather(1, order) & first).sum(1)
    share = hits.to(maps) / count[:, 0]
    return torch.where(inside.isnan().flatten(1).any(1), torch.nan, share)
