"""The axes of layers' outputs: what the networks themselves declare, and plain PyTorch, decide what is right."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures import ARCHITECTURES, Architecture
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.classifier import Backbone, pool
from deepscope.models.layouts import Layout, layout, layouts

_BY_NAME = {one.name: one for one in ARCHITECTURES}
TOKENS = [
    one
    for one in ARCHITECTURES
    if one.name.startswith(("ViT", "DeiT", "DINOv2", "EVA")) and not one.name.endswith(("torchvision", "transformers"))
]


def model(network: nn.Module, size: int = 32) -> VisionModel:
    return VisionModel("made", network, Preprocessing(resize=size, crop=size))


def images(size: int = 32, count: int = 2, *, double: bool = True) -> Tensor:
    made = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return made if double else made.float()


@pytest.mark.parametrize("architecture", TOKENS, ids=lambda one: one.name)
def test_tokens_are_as_timm_declares_them(architecture: Architecture) -> None:
    made = architecture.model()
    found = layout(made, "blocks.2", images(architecture.size))
    assert found is not None
    network: Any = made.network
    assert (found.channels, found.grid, found.prefix) == (2, network.patch_embed.grid_size, network.num_prefix_tokens)
    output = made.activations(images(architecture.size), ["blocks.2"])["blocks.2"]
    maps = found.maps(output)
    rows, columns = network.patch_embed.grid_size
    assert maps is not None
    for row, column in ((0, 0), (0, columns - 1), (rows - 1, 0)):
        assert torch.equal(maps[:, :, row, column], output[:, network.num_prefix_tokens + row * columns + column])


@pytest.mark.parametrize(
    ("name", "channels_last", "channels_first"),
    [
        ("Swin v1", ["patch_embed", "layers.0", "layers.1", "layers.1.blocks.0.norm1", "norm"], ["patch_embed.proj"]),
        ("Swin v2", ["layers.0", "layers.1", "norm"], ["patch_embed.proj"]),
        ("Swin, torchvision", ["features.1", "features.3", "norm"], ["features.0.0", "permute"]),
        (
            "ConvNeXt",
            ["stages.0.blocks.0.norm", "stages.0.blocks.0.mlp.fc2"],
            ["stem", "stages.0", "stages.3.blocks.1"],
        ),
        ("MaxViT", ["stages.0.blocks.0.attn_block.norm1"], ["stages.0", "stages.3", "norm"]),
        ("MambaOut", ["stages.0", "stages.3"], []),
        ("ResNet", [], ["conv1", "bn1", "layer1", "layer4.0.act2"]),
        ("MobileViT", [], ["stages.2.1", "stages.2.1.conv_fusion", "final_conv"]),
    ],
)
def test_maps_have_their_channels_where_the_network_has_them(
    name: str, channels_last: list[str], channels_first: list[str]
) -> None:
    made = _BY_NAME[name].model()
    found = layouts(made, images(_BY_NAME[name].size)).of
    assert {layer: found[layer].channels for layer in channels_last} == dict.fromkeys(channels_last, 3)
    assert {layer: found[layer].channels for layer in channels_first} == dict.fromkeys(channels_first, 1)


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224"])
def test_as_many_channels_as_rows_confuse_nothing(name: str) -> None:
    """ConvNeXt-T at 384 pixels has 96 channels of 96 x 96, and so has Swin-T, the other way round."""
    size = 128
    settings: dict[str, Any] = {"img_size": size} if name.startswith("swin") else {}
    widths: dict[str, Any] = (
        {"embed_dim": 32, "depths": (1, 1), "num_heads": (2, 2)} if settings else {"dims": (32, 64, 64, 64)}
    )
    made = model(timm.create_model(name, num_classes=0, **settings, **widths), size)
    layer = "layers.0" if settings else "stages.0"
    found = layout(made, layer, images(size, 1))
    output = made.activations(images(size, 1, double=False), [layer])[layer]
    assert sorted(output.shape[1:]) == [32, 32, 32]
    assert found == Layout(3 if settings else 1, (32, 32))


def test_windows_and_vectors_have_no_grid() -> None:
    made = _BY_NAME["Swin v1"].model()
    found = layouts(made, images(56)).of
    assert "layers.0.blocks.0.attn" not in found  # its windows stand where images do
    assert found["head"] == Layout(1)
    assert found["head"].positions(torch.zeros(2, 6)).shape == (2, 6, 1)


def test_patches_cut_without_a_convolution_form_a_square() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.norm = nn.Linear(3 * 64, 10), nn.LayerNorm(10)

        def forward(self, x: Tensor) -> Tensor:
            cut = functional.unfold(x, 8, stride=8).transpose(1, 2)
            tokens = self.norm(self.patches(cut))
            return torch.cat([tokens[:, :1], tokens], 1).mean(1)

    assert layout(model(Cut()), "norm", images()) == Layout(2, (4, 4))


def test_attention_is_found_by_what_it_computes() -> None:
    for name, modules in (
        ("ViT, class token", {f"blocks.{block}.attn" for block in range(3)}),
        ("ViT, torchvision", {f"encoder.layers.encoder_layer_{block}.self_attention" for block in range(2)}),
        ("Swin v1", {"layers.0.blocks.0.attn", "layers.1.blocks.0.attn", "layers.1.blocks.1.attn"}),
        ("ResNet", set()),
    ):
        assert layouts(_BY_NAME[name].model(), images(_BY_NAME[name].size)).attention == modules


@pytest.mark.parametrize("name", ["Swin v1", "Swin, torchvision", "MambaOut", "ViT, registers", "ResNet"])
def test_features_are_pooled_over_positions(name: str) -> None:
    architecture = _BY_NAME[name]
    made = architecture.model()
    layer, positions = {
        "Swin v1": ("layers.1", (1, 2)),
        "Swin, torchvision": ("features.3", (1, 2)),
        "MambaOut": ("stages.2", (1, 2)),
        "ViT, registers": ("blocks.2", (1,)),
        "ResNet": ("layer3", (2, 3)),
    }[name]
    pixels = images(architecture.size)
    output = made.activations(pixels, [layer])[layer].float()
    backbone = Backbone(
        made.network,
        made.preprocessing.mean,
        made.preprocessing.std,
        [(layer, "mean"), (layer, "max"), (layer, "pyramid")],
    )
    first, second = backbone(pixels), backbone(pixels)  # the second pass uses the layouts that the first one found
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    mean, largest, pyramid = first
    torch.testing.assert_close(mean, output.mean(positions), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(largest, output.amax(positions), rtol=1e-5, atol=1e-6)
    patches = output[:, 6:].mean(1) if "ViT" in name else output.mean(positions)
    torch.testing.assert_close(pyramid[:, : patches.shape[1]], patches, rtol=1e-5, atol=1e-6)
    assert pyramid.shape[1] == (1 + 4 + 9) * patches.shape[1]


def test_pooling_without_a_layout_is_as_before() -> None:
    maps = torch.rand(2, 5, 4, 3)
    assert torch.equal(pool(maps, "mean"), maps.mean((2, 3)))
    assert torch.equal(pool(maps[:, 0], "max"), maps[:, 0].amax(1))
