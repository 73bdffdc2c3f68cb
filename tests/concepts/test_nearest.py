"""Concepts that tell a group of images from others: a planted colour comes first, and its patches show it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from deepscope.concepts.nearest import _auroc, nearest
from deepscope.models import Preprocessing, VisionModel
from deepscope.session import Session


def test_the_colour_of_a_group_is_its_nearest_concept() -> None:
    network = nn.Sequential(nn.AvgPool2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    model = VisionModel("colours", network, Preprocessing(16, 16, mean=(0.0,) * 3, std=(1.0,) * 3), ("warm", "cold"))
    rng = torch.Generator().manual_seed(0)
    coarse = torch.zeros(20, 3, 4, 4)
    for row, image in enumerate(coarse):
        places = torch.randperm(16, generator=rng)
        for number, place in enumerate(places[:4].tolist()):
            image[1 + number % 2, place // 4, place % 4] = 0.5 + 0.4 * torch.rand(1, generator=rng)
        if row < 6:
            image[0, places[5] // 4, places[5] % 4] = 1.0
    pixels = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    group = np.arange(20) < 6
    (near, none) = nearest(
        model, pixels, [group, np.ones(20, bool)], concepts=3, patch=0.25, session=Session(quiet=True)
    )
    assert near[0].auroc == pytest.approx(1.0) and none == ()
    for patch in near[0].patches:
        assert patch.image < 6 and patch.of(pixels[patch.image])[0].min() == 1.0


def test_the_auroc_is_that_of_the_rank_sum() -> None:
    rng = np.random.default_rng(0)
    values, group = rng.integers(0, 5, 40).astype(np.float32), rng.random(40) < 0.4
    wanted = stats.mannwhitneyu(values[group], values[~group]).statistic / (group.sum() * (~group).sum())
    assert _auroc(values, group) == pytest.approx(wanted)
