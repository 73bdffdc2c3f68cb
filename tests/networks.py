"""Tiny models that tests of every package share."""

from __future__ import annotations

import torch
from torch import nn

from deepscope.models import Preprocessing, VisionModel


def tiny_model(*, classes: int = 4, seed: int = 0, size: int = 16) -> VisionModel:
    """A small random convolutional classifier of `size` x `size` pixels, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )
    names = ("bee eater", "wombat", "hay", "snail", *(f"class {i}" for i in range(4, classes)))[:classes]
    return VisionModel("tiny", network, Preprocessing(resize=size, crop=size), categories=names)
