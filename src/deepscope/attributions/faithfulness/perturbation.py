"""Insertion and deletion: how fast the probability changes as the most important pixels appear or disappear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions.attribution import Baseline, baseline_pixels
from deepscope.attributions.engine import batches, probability
from deepscope.attributions.faithfulness.measure import Explanation, Measure, probabilities
from deepscope.settings import Count


@dataclass(frozen=True)
class Deletion(Measure):
    """Area under the class's probability while the most important pixels are taken out first; small is faithful.

    Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models".

    Attributes:
        steps: approximate number of steps from the whole image to the empty one.
        substrate: what replaces a pixel.
    """

    higher_is_better: ClassVar[bool] = False

    steps: Count = 28
    substrate: Baseline = "grey"

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) areas in [0, 1]."""
        empty = baseline_pixels(self.substrate, given.pixels)
        ends = [_probability(given, "whole", given.pixels), _probability(given, self.substrate, empty)]
        return area(curve(given, given.pixels, empty, self.steps, ends))


@dataclass(frozen=True)
class Insertion(Measure):
    """Area under the class's probability while the most important pixels are restored first; large is faithful.

    Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models".

    Attributes:
        steps: approximate number of steps from the empty image to the whole one.
        substrate: what the image starts from.
    """

    higher_is_better: ClassVar[bool] = True

    steps: Count = 28
    substrate: Baseline = "blurred"

    def __call__(self, given: Explanation) -> Tensor:
        """(N,) areas in [0, 1]."""
        empty = baseline_pixels(self.substrate, given.pixels)
        ends = [_probability(given, self.substrate, empty), _probability(given, "whole", given.pixels)]
        return area(curve(given, empty, given.pixels, self.steps, ends))


def _probability(given: Explanation, name: str, pixels: Tensor) -> Tensor:
    """At an end of the curve, which is the same for every map."""
    return given.of_images(name, lambda: probabilities(given, pixels))


def curve(given: Explanation, start: Tensor, finish: Tensor, steps: int, ends: Sequence[Tensor]) -> Tensor:
    """Probabilities of the target class while pixels change from `start` to `finish`, the largest map values first.

    Each step changes the same number of pixels, the last one what is left.

    Args:
        ends: (N,) probabilities of `start` and of `finish`.

    Returns:
        (N, steps + 1) from all `start` to all `finish`.
    """
    maps = given.maps
    positions = maps[0].numel()
    each = math.ceil(positions / steps)
    inner = math.ceil(positions / each) - 1
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(positions, device=maps.device).expand_as(order))
    rank = rank.view(-1, 1, *maps.shape[1:])
    row = torch.arange(len(maps) * inner, device=maps.device)
    image, step = row // max(inner, 1), row % max(inner, 1) + 1

    def seen(rows: slice) -> Tensor:
        i = image[rows]
        changed = rank[i] < (step[rows] * each).view(-1, 1, 1, 1)
        return probability(given.model, torch.where(changed, finish[i], start[i]), given.target[i], given.fast)

    found = [part for _, part in batches(len(row), maps.device, seen)]
    between = torch.cat(found).view(len(maps), inner) if found else maps.new_empty(len(maps), 0)
    return torch.cat([ends[0][:, None], between, ends[1][:, None]], 1)


def area(curves: Tensor) -> Tensor:
    """(N, points) -> (N,) areas by the trapezoid rule over a unit length."""
    return torch.trapezoid(curves, dim=1) / (curves.shape[1] - 1)
