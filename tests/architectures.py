"""Tiny networks of the architectures that people use, one per layout of features; contracts run on each of them.

Weights are random and seeded. Weights that libraries initialise so small that a block adds almost nothing (layer scale,
zero heads, a deviation of 0.02) get ordinary values, because such a block would pass any test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.models import MetaFormer, MlpMixer
from timm.models.efficientvit_mit import EfficientVit
from timm.models.fastvit import FastVit
from timm.models.metaformer import LayerNorm2dNoBias, Pooling, SepConv
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models
from torchvision.models import inception

from deepscope.attributions import Attribution
from deepscope.models import Preprocessing, VisionModel

_FEWER: Mapping[str, Any] = {"samples": 2, "masks": 4, "window": 32, "stride": 32, "steps": 4}
CLASSES = ("bee eater", "wombat", "hay", "snail", "tabby", "pug")


@dataclass(frozen=True)
class Architecture:
    """A network of the list.

    Attributes:
        name: as people call it, with what tells it from its relatives.
        build: makes the network for a number of classes; 0 for one that has features alone.
        size: side of the input, in pixels.
        fixed: whether it takes no other size.
        classes: whether it has a class layer.
        library: that defines the network, where it may be missing: tests of it are skipped then.
    """

    name: str
    build: Callable[[int], nn.Module]
    size: int = 64
    fixed: bool = False
    classes: bool = True
    library: str = ""

    def model(self, *, seed: int = 0) -> VisionModel:
        """The network in double precision, the same for the same seed."""
        if self.library:
            pytest.importorskip(self.library, reason="pip install 'deepscope[hf]'")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = self.build(len(CLASSES) if self.classes else 0).double().eval()
            _wake(network)
        categories = CLASSES if self.classes else ()
        name = self.name.lower().replace(", ", "-").replace(" ", "-")
        return VisionModel(name, network, Preprocessing(resize=self.size, crop=self.size), categories)

    def pixels(self, *, count: int = 2) -> Tensor:
        """(count, 3, size, size) smooth random images in double precision, always the same."""
        rng = torch.Generator().manual_seed(1)
        coarse = torch.rand(count, 3, 8, 8, generator=rng, dtype=torch.float64)
        return functional.interpolate(coarse, (self.size, self.size), mode="bilinear")


def quick(method: type[Attribution]) -> Attribution:
    """A method that makes few passes; what these do not depend on has its default."""
    fields = {field.name for field in dataclasses.fields(method)}  # type: ignore[arg-type]
    return method(**{name: value for name, value in _FEWER.items() if name in fields})


@torch.no_grad()
def _wake(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if parameter.ndim < 2:
            if parameter.abs().amax() < 1e-2 and not name.endswith("bias"):
                parameter.normal_(0, 0.5)
        elif parameter.std() < 0.5 * (fan_in := parameter[0].numel()) ** -0.5:
            parameter.normal_(0, fan_in**-0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def _timm(name: str, **settings: Any) -> Callable[[int], nn.Module]:
    def build(classes: int) -> nn.Module:
        if not timm.is_model(name):
            pytest.skip(f"timm {timm.__version__} has no {name}")
        return timm.create_model(name, num_classes=classes, **settings)

    return build


def _vgg(classes: int) -> nn.Module:
    network = models.VGG(models.vgg.make_layers([8, "M", 8, "M", 16, 16, "M", 16, "M"]), init_weights=False)
    network.classifier = nn.Sequential(nn.Linear(16 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, classes))
    return network


def _inception(classes: int) -> nn.Module:
    """With auxiliary heads, and an eighth of the channels."""

    def thin(inputs: int, outputs: int, **settings: Any) -> nn.Module:
        return inception.BasicConv2d(inputs if inputs == 3 else inputs // 8, outputs // 8, **settings)

    blocks = [getattr(inception, f"Inception{kind}") for kind in ("A", "B", "C", "D", "E", "Aux")]
    thinned = [thin, *(partial(block, conv_block=thin) for block in blocks)]
    network = models.Inception3(classes, inception_blocks=thinned, init_weights=False)
    network.fc = nn.Linear(256, classes)
    assert network.AuxLogits is not None
    network.AuxLogits.fc = nn.Linear(96, classes)
    return network


def _squeezenet(classes: int) -> nn.Module:
    return models.squeezenet1_1(num_classes=classes)


def _mixer(classes: int) -> nn.Module:
    return MlpMixer(classes, img_size=64, patch_size=16, num_blocks=2, embed_dim=24)


def _metaformer(classes: int) -> nn.Module:
    mixers: list[type[nn.Module]] = [SepConv, Pooling]
    return MetaFormer(
        num_classes=classes, depths=(1, 1), dims=(8, 16), token_mixers=mixers, norm_layers=LayerNorm2dNoBias
    )


def _fastvit(classes: int) -> nn.Module:
    return FastVit(
        layers=(1, 1),
        embed_dims=(8, 32),
        mlp_ratios=(2, 2),
        downsamples=(False, True),
        token_mixers=("repmixer", "attention"),
        pos_embs=(None, None),
        num_classes=classes,
    )


def _efficientvit(classes: int) -> nn.Module:
    return EfficientVit(
        widths=(8, 8, 16, 16, 32), depths=(1, 1, 1, 1, 1), head_dim=8, head_widths=(48, 32), num_classes=classes
    )


def _torchvision_vit(classes: int) -> nn.Module:
    return models.VisionTransformer(64, 16, 2, 2, 24, 48, num_classes=classes)


def _torchvision_swin(classes: int) -> nn.Module:
    return models.SwinTransformer([4, 4], 16, [1, 2], [2, 2], [7, 7], num_classes=classes)


def _transformers_vit(classes: int) -> nn.Module:
    import transformers

    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    settings: Any = {**sizes, "image_size": 64, "patch_size": 16, "num_labels": classes}
    config = transformers.ViTConfig(**settings)
    return transformers.ViTForImageClassification(config)


def _transformers_convnext(classes: int) -> nn.Module:
    import transformers

    settings: Any = {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 12, 16, 24], "num_labels": classes}
    config = transformers.ConvNextConfig(**settings)
    return transformers.ConvNextForImageClassification(config)


_SMALL: Mapping[str, Any] = {"embed_dim": 32, "depth": 3, "num_heads": 2}
_SMALL_SWIN: Mapping[str, Any] = {"embed_dim": 16, "depths": (1, 2), "num_heads": (2, 2)}

ARCHITECTURES = (
    Architecture("VGG", _vgg),
    Architecture("ResNet", _timm("test_resnet")),
    Architecture("DenseNet", _timm("densenet121", growth_rate=8, block_config=(2, 2, 2, 2))),
    Architecture("Inception v3", _inception, size=112),
    Architecture("SqueezeNet", _squeezenet),
    Architecture("MobileNetV4", _timm("mobilenetv4_conv_small_035")),
    Architecture("EfficientNetV2", _timm("tf_efficientnetv2_b0", channel_multiplier=0.25, depth_multiplier=0.3)),
    Architecture("RegNet", _timm("regnetx_002")),
    Architecture("ConvNeXt", _timm("test_convnext")),
    Architecture("ConvNeXt, transformers", _transformers_convnext, library="transformers"),
    Architecture("NFNet", _timm("test_nfnet")),
    Architecture("MLP-Mixer", _mixer, fixed=True),
    Architecture("MetaFormer", _metaformer),
    Architecture("ViT, class token", _timm("vit_tiny_patch16_224", img_size=64, **_SMALL), fixed=True),
    Architecture(
        "ViT, non-square grid", _timm("vit_tiny_patch16_224", img_size=64, patch_size=(16, 8), **_SMALL), fixed=True
    ),
    Architecture(
        "ViT, no class token",
        _timm("vit_tiny_patch16_224", img_size=64, class_token=False, global_pool="avg", **_SMALL),
        fixed=True,
    ),
    Architecture("ViT, registers", _timm("vit_tiny_patch16_224", img_size=64, reg_tokens=5, **_SMALL), fixed=True),
    Architecture("ViT, SigLIP", _timm("vit_base_patch16_siglip_224", img_size=64, **_SMALL), fixed=True),
    Architecture("ViT, torchvision", _torchvision_vit, fixed=True),
    Architecture("ViT, transformers", _transformers_vit, fixed=True, library="transformers"),
    Architecture("DeiT, distilled", _timm("deit_tiny_distilled_patch16_224", img_size=64, **_SMALL), fixed=True),
    Architecture(
        "DINOv2, features",
        _timm("vit_small_patch14_reg4_dinov2", img_size=56, **_SMALL),
        size=56,
        fixed=True,
        classes=False,
    ),
    Architecture("DINOv2, classes", _timm("vit_small_patch14_reg4_dinov2", img_size=56, **_SMALL), size=56, fixed=True),
    Architecture("Swin v1", _timm("swin_tiny_patch4_window7_224", img_size=56, **_SMALL_SWIN), size=56, fixed=True),
    Architecture("Swin v2", _timm("swinv2_tiny_window8_256", img_size=64, **_SMALL_SWIN), fixed=True),
    Architecture("Swin, torchvision", _torchvision_swin),
    Architecture("MaxViT", _timm("test_maxvit", img_size=64), fixed=True),
    Architecture("CoAtNet", _timm("test_coatnet", img_size=64), fixed=True),
    Architecture("EVA-02", _timm("eva02_tiny_patch14_224", img_size=56, **_SMALL), size=56, fixed=True),
    Architecture("XCiT", _timm("xcit_nano_12_p16_224", embed_dim=32, depth=2, num_heads=2)),
    Architecture("MobileViT", _timm("mobilevit_xxs")),
    Architecture("FastViT", _fastvit),
    Architecture("EfficientViT", _efficientvit),
    Architecture("MambaOut", _timm("test_mambaout")),
)
