"""The network that features are computed with, folded and laid out, against the plain one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

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
