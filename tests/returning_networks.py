"""Random networks that return their last values in any form, and what plain PyTorch says of them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepscope.models import Preprocessing, VisionModel

ABC = ("a", "b", "c")
Named = namedtuple("Named", "logits features")
Make = Callable[[Tensor], Any]


@dataclass
class Held:
    logits: Tensor


class Anything:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


class Network(nn.Module):
    """A random convolutional network whose last values `make` turns into its output."""

    def __init__(self, make: Make, out: int = 3, channels: int = 3, gain: float = 20) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(8, out)
            convolution = nn.Conv2d(channels, 8, 3, 2, 1)
        self.head.weight.data *= gain
        self.body = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.head)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.body(x))


def model_of(network: nn.Module, categories: tuple[str, ...] = ABC, **preprocessing: Any) -> VisionModel:
    return VisionModel("mine", network, Preprocessing(16, 16, **preprocessing), categories)


def four_images() -> Tensor:
    """(4, 3, 16, 16) random pixels."""
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def plain_logits(pixels: Tensor, out: int = 3) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (Preprocessing().mean, Preprocessing().std))
    with torch.no_grad():
        return Network(lambda z: z, out)((pixels - mean) / std)


def sharp(make: Make, out: int = 5, gain: float = 1000) -> tuple[nn.Module, nn.Module]:
    """A network whose logits are large, so that nearly all its probabilities are 0 or 1; and its logits."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution, head = nn.Conv2d(3, 16, 5, 2), nn.Linear(256, out)
    layers = (convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), head)

    class Sharp(nn.Module):
        def __init__(self, make: Make) -> None:
            super().__init__()
            self.body, self.make = nn.Sequential(*layers), make

        def forward(self, x: Tensor) -> Any:
            return self.make(self.body(x) * gain)

    return Sharp(make), Sharp(lambda z: z)
