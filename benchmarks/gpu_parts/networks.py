"""Networks with seeded random weights, and images for them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import timm
import torch
import torchvision
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import cfgs, make_layers

from deepscope.models import Preprocessing, VisionModel

from .check import rng


class Tiny(nn.Module):
    """Convolutions, batch norm, an in-place and reused activation, a gate, both poolings.

    The gates are no `hardsigmoid` and `hardswish`: in float64 on CUDA, PyTorch multiplies there with a sixth in
    float32 (`one_sixth(1.0f / 6.0f)` in ActivationHardsigmoidKernel.cu), so that the last 29 bits are not the CPU's.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.third = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(12 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) logits."""
        x = self.act(self.norm(self.first(x)))
        x = functional.max_pool2d(self.act(self.second(x)), 2)
        x = x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()
        x = functional.silu(self.third(x))
        return self.head(functional.adaptive_avg_pool2d(x, 2).flatten(1))


def tiny(device: torch.device, dtype: torch.dtype, classes: int = 6, *, transformer: bool = False) -> VisionModel:
    """A small classifier, the same on every device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = (
            VisionTransformer(48, 8, num_classes=classes, embed_dim=16, depth=2, num_heads=2) if transformer else None
        )
        network = (made or Tiny(classes)).to(dtype)
    if _nudges:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1 + _nudges[-1] * torch.randn(parameter.shape, generator=rng(9), dtype=dtype))
    model = VisionModel("tiny", network, Preprocessing(resize=48, crop=48), tuple("abcdef"[:classes]))
    return model.to(device)


_nudges: list[float] = []


@contextmanager
def nudged(share: float) -> Iterator[None]:
    """Inside, `tiny` has other weights, by that share of each: how far rounding alone can send a method."""
    _nudges.append(share)
    try:
        yield
    finally:
        _nudges.pop()


@functools.lru_cache(maxsize=1)
def large(name: str, device: torch.device, *, small: bool) -> VisionModel:
    """resnet50, vgg16 or vit_tiny with a thousand classes; where `small`, a narrow network of the same kind."""
    side, classes = (64, 10) if small else (224, 1000)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _small(name, side, classes) if small else _large(name)
    return VisionModel(name, network, Preprocessing(resize=side, crop=side), tuple(map(str, range(classes)))).to(device)


def _small(name: str, side: int, classes: int) -> nn.Module:
    if name == "vgg16":
        features = make_layers([width if isinstance(width, str) else width // 16 for width in cfgs["D"]])
        return _Vgg(features, classes)
    if name == "resnet50":
        return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=classes)
    return timm.create_model("vit_tiny_patch16_224", img_size=side, depth=2, num_classes=classes)


class _Vgg(nn.Module):
    """VGG with one linear layer."""

    def __init__(self, features: nn.Module, classes: int) -> None:
        super().__init__()
        self.features, self.classifier = features, nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) logits."""
        return self.classifier(self.features(x).mean((2, 3)))


def _large(name: str) -> nn.Module:
    if name == "vit_tiny":
        return timm.create_model("vit_tiny_patch16_224")
    return getattr(torchvision.models, name)()


def images(count: int, model: VisionModel, dtype: torch.dtype = torch.float32) -> Tensor:
    """(count, 3, H, W) smooth random pixels on the grid of 8-bit images, on the model's device."""
    size = model.preprocessing.size
    coarse = torch.rand(count, 3, size[0] // 8, size[1] // 8, generator=rng(1), dtype=torch.float64)
    whole = functional.interpolate(coarse, size, mode="bilinear")
    return ((whole * 255).round() / 255).to(model.device, dtype)
