"""The rest of a network behind a layer, against passes of the whole network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from architectures import ARCHITECTURES
from deepscope.concepts.rest import Rest
from deepscope.models.feature_map import feature_layer
from networks import tiny_model

_SOME = ("ResNet", "DenseNet", "MetaFormer", "ViT, class token", "Swin v1")


@pytest.mark.parametrize("architecture", [one for one in ARCHITECTURES if one.name in _SOME], ids=lambda one: one.name)
def test_the_image_s_own_output_gives_its_own_logits(architecture) -> None:
    model, pixels = architecture.model(), architecture.pixels(count=3)
    with torch.no_grad():
        wanted = model(pixels)
        layer = feature_layer(model, pixels[:1])
        outputs = model.activations(pixels, [layer])[layer]
    rest = Rest(model, layer)
    torch.testing.assert_close(rest(pixels[:1], outputs[:1].expand(3, *outputs.shape[1:])), wanted[:1].expand(3, -1))
    assert not any(module._forward_hooks for module in model.network.modules())


def test_a_sequential_network_takes_any_outputs() -> None:
    model = tiny_model()
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = torch.rand(5, 8, 8, 8, generator=torch.Generator().manual_seed(1))
        wanted = model.network[5:](outputs)  # type: ignore[index]
        rest = Rest(model, "4")
        torch.testing.assert_close(rest(pixels, outputs), wanted)
    assert rest._alone


class _Joined(nn.Module):
    """Two branches that are joined, which rows of two numbers cannot be."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(8, 4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.left(pixels), self.right(pixels)], 1).mean((2, 3)))


def test_branches_that_are_joined_are_computed_on_copies() -> None:
    model = tiny_model().with_network(_Joined().eval(), returns=None)
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network = model.network
        outputs = torch.rand(3, 4, 14, 14)
        right = network.right(model.normalise(pixels)).expand(3, -1, -1, -1)  # type: ignore[operator]
        wanted = network.head(torch.cat([outputs, right], 1).mean((2, 3)))  # type: ignore[operator]
        rest = Rest(model, "left")
        torch.testing.assert_close(rest(pixels, outputs), wanted)
    assert rest._alone is False
