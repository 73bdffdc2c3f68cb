"""The concepts that groups of images show more than other images: a group described by what the network sees in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.concepts.factors import factorise
from deepscope.concepts.patches import Patch
from deepscope.models import VisionModel
from deepscope.models.batching import batches
from deepscope.models.capabilities import LAYERS, SCORES, require
from deepscope.models.feature_map import as_map, feature_layer
from deepscope.session import Session

_BATCH = 16
_POSITIONS = 2000
"""Positions that are factorised, drawn at random."""
_PATCHES = 4


@dataclass(frozen=True)
class Near:
    """A concept, and how well it tells a group of images from the others.

    Attributes:
        concept: its number, from 1.
        auroc: how well its part in an image tells the group from the others: 0.5 where not at all.
        patches: of the group's images that show it most, one per image, around the position that does.
    """

    concept: int
    auroc: float
    patches: tuple[Patch, ...]


def nearest(
    model: VisionModel,
    pixels: Tensor,
    groups: Sequence[NDArray[np.bool_]],
    *,
    concepts: int = 10,
    top: int = 2,
    patch: float = 0.3,
    session: Session,
) -> tuple[tuple[Near, ...], ...]:
    """For each group, the concepts that its images show more than the other images, the most telling first.

    The activations of the last feature map, of all images together, are factorised once. A concept's part in an image
    is its largest amount at a position, relative to the sum of those of all concepts: a dark image has less of each.
    AUROCs describe these images:
    they are the largest of several, and no test.

    Args:
        model: a classifier with visible layers.
        pixels: (N, C, H, W) of the images.
        groups: for each group (N,) whether an image is in it; a group of all images or none has no concepts.
        concepts: how many parts, at most.
        top: concepts per group, at most.
        patch: side of the patches, as a share of the image's.
        session: progress, and the seed of the draw and the factorisation.

    Raises:
        UnsupportedError: the model shows no layers, or has no feature map.
    """
    require(model, "nearest concepts", LAYERS | SCORES)
    layer = feature_layer(model, pixels[:1].to(model.device))

    def run(part: slice) -> Tensor:
        given = pixels[part].to(model.device)
        with torch.inference_mode():
            return as_map(model, layer, model.activations(given, [layer])[layer], given).float().cpu()

    maps = torch.cat([found for _, found in batches(len(pixels), run, size=_BATCH)])
    count, channels, height, width = maps.shape
    vectors = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    drawn = vectors[torch.randperm(len(vectors), generator=session.rng("positions"))[:_POSITIONS]].numpy()
    factors = factorise(drawn, min(concepts, *drawn.shape), seed=session.seed)
    amounts = factors.coefficients(vectors.numpy()).reshape(count, height, width, -1)
    largest = amounts.max((1, 2))  # (N, k)
    largest /= np.maximum(largest.sum(1, keepdims=True), 1e-12)
    found: list[tuple[Near, ...]] = []
    for group in groups:
        if not 0 < group.sum() < count:
            found.append(())
            continue
        values = [_auroc(largest[:, column], group) for column in range(largest.shape[1])]
        best = [column for column in np.argsort(-np.array(values), kind="stable")[:top] if values[column] > 0.5]
        rows = np.flatnonzero(group)
        near = []
        for column in best:
            order = rows[np.argsort(-largest[rows, column], kind="stable")][:_PATCHES].tolist()
            shown = tuple(Patch.at(row, amounts[row, :, :, column], pixels.shape[-2:], patch) for row in order)
            near.append(Near(int(column) + 1, values[column], shown))
        found.append(tuple(near))
    return tuple(found)


def _auroc(values: NDArray[np.float32], group: NDArray[np.bool_]) -> float:
    """The share of pairs of an image of the group and another one in which it has the larger value; ties count half."""
    from scipy.stats import rankdata

    inside = int(group.sum())
    ranks = rankdata(values)[group].sum() - inside * (inside + 1) / 2
    return float(ranks / (inside * (len(group) - inside)))
