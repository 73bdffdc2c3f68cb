"""Real architectures for agreement with other libraries: real weights where they are here, else seeded random ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.session import Session

CATEGORIES = tuple(f"class {index}" for index in range(1000))


def random_weights(name: str) -> VisionModel:
    """LIBRARY:NAME, randomly initialised with a fixed seed, its batch norms having seen smooth random images."""
    library, architecture = name.split(":")
    make: Callable[[str], nn.Module] = torchvision.models.get_model if library == "torchvision" else timm.create_model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make(architecture)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    coarse = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.train()((F.interpolate(coarse, (96, 96), mode="bilinear") - 0.5) / 0.25)
    return VisionModel(name, network, Preprocessing(), CATEGORIES)


def real_weights(name: str, home: Path) -> VisionModel:
    """A model with its published weights."""
    return load_model(name, Session.open(device="cpu", home=home, quiet=True))


def in_float64(model: VisionModel) -> VisionModel:
    """A copy in double precision, where agreement is not blurred by rounding at the kinks of activations."""
    return replace(model, network=copy.deepcopy(model.network).double())


class FromPixels(nn.Module):
    """A model as other libraries want it: a module from pixels to logits, without in-place activations."""

    def __init__(self, model: VisionModel) -> None:
        super().__init__()
        self.model = replace(model, network=copy.deepcopy(model.network))
        self.network = self.model.network
        for module in self.network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # type: ignore[assignment]

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels)
