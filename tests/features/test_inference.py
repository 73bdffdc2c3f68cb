"""The network that features are computed with, folded and laid out, against the plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepscope.features import inference
from deepscope.features.inference import accelerated
from deepscope.models.classifier import Backbone
from layer_orders import ORDERS, closed, convolution, norm, shaken

REPARAMETRISED = {
    "new weight norm": nn.utils.parametrizations.weight_norm,
    "new spectral norm": nn.utils.parametrizations.spectral_norm,
    "weight norm": nn.utils.weight_norm,
    "spectral norm": nn.utils.spectral_norm,
}


def assert_same_features(network: nn.Module, layer: str) -> None:
    backbone = Backbone(network.requires_grad_(False), [0.5] * 3, [0.2] * 3, [(layer, "mean")])
    pixels = torch.rand(3, 3, 12, 12).double()
    with torch.inference_mode():
        found, expected = accelerated(backbone, pixels, bfloat16=False)(pixels), backbone(pixels)
    for vectors, wanted in zip(found, expected, strict=True):
        assert ((vectors - wanted).norm() <= 1e-5 * wanted.norm()).all()


@pytest.mark.parametrize("order", ORDERS)
def test_any_order_of_layers(order: str) -> None:
    torch.manual_seed(0)
    for _ in range(5):
        network = shaken(ORDERS[order]())
        assert_same_features(network, str(len(network) - 1))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("way", REPARAMETRISED)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_weights_that_are_made_in_each_pass(way: str) -> None:
    torch.manual_seed(0)
    layers = [m for inputs in (3, 6) for m in (REPARAMETRISED[way](convolution(inputs)), norm(), nn.ReLU())]
    assert_same_features(shaken(closed(*layers)), "6")


class Small(nn.Module):
    """Joins a convolution and a batch norm in a way that folding breaks; its output is tiny."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = convolution(3), norm()

    def forward(self, x: Tensor) -> Tensor:
        between = self.conv(x)
        return 1e-6 * (self.norm(between) + between)


def test_a_fold_that_changes_tiny_features_is_noticed() -> None:
    torch.manual_seed(0)
    assert_same_features(shaken(nn.Sequential(Small(), nn.AdaptiveAvgPool2d(1), nn.Flatten())), "2")


class Forked(nn.Module):
    """Uses a convolution's output before and after its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 6, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        between = self.conv(x)
        return self.relu(between) - between


def fused(network: nn.Module, layer: str, kernel: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many ReLUs went into convolutions, whose kernel stands in for cuDNN's; features must be the plain ones."""
    monkeypatch.setattr(inference, "_fuses", lambda _: True)
    monkeypatch.setattr(torch, "cudnn_convolution_relu", kernel)
    backbone = Backbone(network.requires_grad_(False).eval(), [0.5] * 3, [0.2] * 3, [(layer, "mean")])
    pixels = torch.rand(3, 3, 12, 12)
    with torch.inference_mode():
        quick = accelerated(backbone, pixels[:1], bfloat16=True)
        torch.testing.assert_close(quick(pixels), backbone(pixels), rtol=0.05, atol=0.02)
    return sum(isinstance(module, inference.ConvolutionRelu) for module in quick.modules())


def convolution_relu(x: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    return nn.functional.conv2d(x, weight, bias, *settings).relu()


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, stride=2, dilation=2), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2), nn.ReLU()),
    )


def test_relus_go_into_the_convolutions_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fused(layers(), "7", convolution_relu, monkeypatch) == 2  # not the one in groups
    assert fused(layers(), "4", convolution_relu, monkeypatch) == 1  # what is asked for is the convolution's own output
    assert fused(layers(), "5", convolution_relu, monkeypatch) == 2


def test_a_fused_relu_that_changes_features_or_does_not_run_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_bias(x: Tensor, weight: Tensor, _: Tensor | None, *settings: Any) -> Tensor:
        return convolution_relu(x, weight, None, *settings)

    def missing(*_: Any) -> Tensor:
        raise RuntimeError("GET was unable to find an engine to execute this computation")

    torch.manual_seed(0)
    assert fused(nn.Sequential(Forked(), nn.Identity()), "1", convolution_relu, monkeypatch) == 0
    assert fused(layers(), "7", without_bias, monkeypatch) == 0
    assert fused(layers(), "7", missing, monkeypatch) == 0
