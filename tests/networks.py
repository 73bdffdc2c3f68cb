"""Tiny models that tests of every package share."""

from __future__ import annotations

import torch
from timm.models import VisionTransformer
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


def tiny_transformer(*, classes: int = 4, seed: int = 0, size: int = 16) -> VisionModel:
    """A small random vision transformer with a class token; it takes images of any size."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = VisionTransformer(
            size,
            8,
            embed_dim=16,
            depth=2,
            num_heads=2,
            num_classes=classes,
            dynamic_img_size=True,
            dynamic_img_pad=True,
        )
    return VisionModel(
        "tiny-vit", network, Preprocessing(resize=size, crop=size), categories=tiny_model(classes=classes).categories
    )


def linear_model(weights: torch.Tensor, *, size: int) -> VisionModel:
    """Logits are `weights` (classes, 3 * size * size) times the network's input, with real means and deviations."""
    layer = nn.Linear(weights.shape[1], len(weights), bias=False, dtype=weights.dtype)
    layer.weight.data = weights
    network = nn.Sequential(nn.Flatten(), layer)
    names = tuple(f"class {index}" for index in range(len(weights)))
    return VisionModel("linear", network, Preprocessing(resize=size, crop=size), categories=names)


def smooth_model(*, batch_norm: bool = False, size: int = 12) -> VisionModel:
    """A float64 network without kinks, for any input size; its batch normalisation remembers arbitrary statistics."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        norms = nn.BatchNorm2d(6), nn.BatchNorm2d(4)
        for norm in norms:
            norm.load_state_dict({**norm.state_dict(), "running_mean": torch.randn(norm.num_features)})
            norm.load_state_dict({**norm.state_dict(), "running_var": torch.rand(norm.num_features) + 0.5})
    layers = (first, norms[0], nn.Softplus(), second, norms[1]) if batch_norm else (first, nn.Softplus(), second)
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    names = ("bee eater", "wombat", "hay", "snail")
    return VisionModel("smooth", network, Preprocessing(resize=size, crop=size), categories=names)
