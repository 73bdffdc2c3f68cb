"""Small networks, small pictures, and a session whose cache is thrown away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deepscope.models import Preprocessing, VisionModel
from deepscope.session import Session
from painted import CLASSES, paint


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session.open(device="cpu", cache=tmp_path / "cache", home=tmp_path / "home", quiet=True)


@pytest.fixture
def tiny() -> VisionModel:
    """Two convolutions with batch norms that have seen data, and a class layer."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3, stride=2, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(8, 3, 16, 16) * 2 + 1)
    return VisionModel("tiny", network, Preprocessing(resize=20, crop=16), tuple("abcde"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Forty readable pictures."""
    rng = np.random.default_rng(1)
    paths = []
    for number in range(40):
        path = tmp_path / "pictures" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        paint(CLASSES[number % 3], rng).save(path)
        paths.append(path)
    return paths
