"""Networks whose convolutions and batch norms follow each other in the ways that published architectures have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def shaken(network: nn.Module) -> nn.Module:
    """In double precision, with batch norms that do something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return network.double().eval()


def closed(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def norm() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(6)


def convolution(inputs: int = 6, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, 6, 3, padding=1, groups=groups)


class Residual(nn.Module):
    """`x + body(x)`: a ConvMixer's or pre-activation ResNet's block."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


ORDERS: dict[str, Callable[[], nn.Module]] = {
    "convolution, ReLU, norm": lambda: closed(
        convolution(3), *(m for _ in range(6) for m in (nn.ReLU(), norm(), convolution()))
    ),
    "pre-activation": lambda: closed(
        convolution(3), *(Residual(norm(), nn.ReLU(), convolution(), norm(), nn.ReLU(), convolution()) for _ in "abc")
    ),
    "ConvMixer": lambda: closed(
        convolution(3),
        nn.GELU(),
        norm(),
        *(m for _ in "abc" for m in (Residual(convolution(groups=6), nn.GELU(), norm()), nn.Conv2d(6, 6, 1), norm())),
    ),
    "norms side by side": lambda: closed(
        convolution(3), Residual(convolution(), norm()), Residual(convolution(), norm())
    ),
}
