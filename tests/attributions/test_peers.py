"""Agreement with captum, pytorch-grad-cam and torchcam, in double precision.

SqueezeNet and EfficientNet-Lite0 have their real weights; ResNet-18 has seeded random ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures import ARCHITECTURES
from deepscope.attributions import (
    Attribution,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackpropagation,
    HiResCAM,
    IntegratedGradients,
    LayerCAM,
    Occlusion,
    Saliency,
    ScoreCAM,
    SmoothGrad,
)
from deepscope.attributions.attribution import image_seeds
from deepscope.models import VisionModel
from deepscope.models.feature_map import feature_layer
from real_networks import FromPixels, in_float64, random_weights, real_weights

_REASON = "compares with other libraries: pip install 'deepscope[peers]'"
captum = pytest.importorskip("captum.attr", reason=_REASON)
pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam", reason=_REASON)
model_targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets", reason=_REASON)
torchcam = pytest.importorskip("torchcam.methods", reason=_REASON)

pytestmark = pytest.mark.real
SIDE = 64
NARROW = {"squeezenet1_0": "features.3.squeeze", "efficientnet_lite0": "blocks.0", "torchvision:resnet18": "layer1"}
"""Layers of few channels, each of which costs Score-CAM a pass."""


@pytest.fixture(scope="module", params=["squeezenet1_0", "efficientnet_lite0", "torchvision:resnet18"])
def model(request: pytest.FixtureRequest, home: Path) -> VisionModel:
    name = request.param
    return in_float64(random_weights(name) if ":" in name else real_weights(name, home))


@pytest.fixture(scope="module")
def pixels(model: VisionModel, home: Path) -> Tensor:
    paths = sorted((home / "data" / "imagenet-sample").iterdir())[20:60:30]
    return F.interpolate(model.read(paths).double(), (SIDE, SIDE), mode="area")


@pytest.fixture(scope="module")
def target(model: VisionModel, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(pixels).argmax(1)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def assert_agrees(ours: Tensor, theirs: Tensor) -> None:
    """Largest difference at most 1e-5 of the largest value."""
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def test_saliency(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    theirs = captum.Saliency(FromPixels(model)).attribute(pixels.clone().requires_grad_(), target=target)
    assert_agrees(Saliency()(model, pixels, target, rng=rng()), theirs.amax(1))


@pytest.mark.parametrize(
    ("form", "name"), [("mean", "smoothgrad"), ("squared", "smoothgrad_sq"), ("variance", "vargrad")]
)
def test_smoothgrad_with_the_same_noise(
    form: Any, name: str, model: VisionModel, pixels: Tensor, target: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, image, label = 3, pixels[:1], target[:1]
    ours = SmoothGrad(samples=samples, noise=0.1, form=form)(model, image, label, rng=rng())
    noise = torch.stack(
        [
            torch.randn(image.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in image_seeds(1, samples, rng())[0].tolist()
        ]
    )
    spread = 0.1 * float(image.max() - image.min())
    monkeypatch.setattr(torch, "normal", lambda mean, std: noise.to(std) * std)
    tunnel = captum.NoiseTunnel(captum.Saliency(FromPixels(model)))
    theirs: Any = tunnel.attribute(
        image.clone().requires_grad_(), nt_type=name, nt_samples=samples, stdevs=spread, target=label, abs=False
    )
    assert_agrees(ours, theirs.abs().amax(1))


def test_integrated_gradients_at_the_same_steps(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    theirs = captum.IntegratedGradients(FromPixels(model)).attribute(
        pixels, torch.zeros_like(pixels), target=target, n_steps=6, method="gausslegendre", internal_batch_size=4
    )
    assert_agrees(IntegratedGradients(steps=6)(model, pixels, target, rng=rng()), theirs)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU:UserWarning")
def test_guided_backpropagation(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    if model.name == "efficientnet_lite0":
        pytest.skip("captum guides ReLU alone, this network has ReLU6")
    theirs = captum.GuidedBackprop(FromPixels(model)).attribute(pixels.clone().requires_grad_(), target=target)
    assert_agrees(GuidedBackpropagation()(model, pixels, target, rng=rng()), theirs.abs().amax(1))


def test_occlusion(model: VisionModel, pixels: Tensor, target: Tensor) -> None:
    theirs = captum.Occlusion(FromPixels(model)).attribute(
        pixels, sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16), target=target, perturbations_per_eval=3
    )
    assert_agrees(Occlusion(window=32, stride=16)(model, pixels, target, rng=rng()), theirs[:, 0])


class Louder(nn.Module):
    """Logits so large that a peer's epsilon beside their gradients does not matter."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) * 1e6


@pytest.mark.parametrize(
    ("method", "peer"),
    [
        (GradCAM(), pytorch_grad_cam.GradCAM),
        (GradCAMPlusPlus(), pytorch_grad_cam.GradCAMPlusPlus),
        (LayerCAM(), pytorch_grad_cam.LayerCAM),
        (HiResCAM(), pytorch_grad_cam.HiResCAM),
    ],
    ids=lambda thing: getattr(thing, "name", ""),
)
def test_pytorch_grad_cam(
    method: Attribution, peer: Callable[..., Any], model: VisionModel, pixels: Tensor, target: Tensor
) -> None:
    model = replace(model, network=Louder(model.network))
    seen = FromPixels(model)
    layer = seen.network.get_submodule(feature_layer(model, pixels))
    wanted = [model_targets.ClassifierOutputTarget(int(label)) for label in target]
    with peer(model=seen, target_layers=[layer]) as cam:
        theirs = torch.from_numpy(np.asarray(cam(pixels.clone().requires_grad_(), wanted))).double()
    ours = method(model, pixels, target, rng=rng())
    low, high = ours.amin((1, 2), keepdim=True), ours.amax((1, 2), keepdim=True)
    assert_agrees((ours - low) / (high - low), theirs)


@pytest.mark.parametrize(
    ("method", "peer"),
    [(GradCAM, torchcam.GradCAM), (LayerCAM, torchcam.LayerCAM), (ScoreCAM, torchcam.ScoreCAM)],
    ids=lambda thing: getattr(thing, "name", ""),
)
def test_torchcam(
    method: Callable[[str], Attribution], peer: Callable[..., Any], model: VisionModel, pixels: Tensor, target: Tensor
) -> None:
    """Without its Grad-CAM++, which divides a copy (`alpha[mask].div_()`) and so leaves the coefficients out."""
    layer = feature_layer(model, pixels)
    if peer is torchcam.ScoreCAM:
        layer, pixels, target = NARROW[model.name], pixels[:1], target[:1]
    logging.disable()
    seen = FromPixels(model)
    with peer(seen, "network." + layer) as cam:
        leaf = pixels.clone().requires_grad_()
        theirs = cam(target.tolist(), seen(leaf), normalized=False)[0].detach()
    logging.disable(logging.NOTSET)
    enlarged = F.interpolate(theirs[:, None], pixels.shape[-2:], mode="bilinear")[:, 0]
    assert_agrees(method(layer)(model, pixels, target, rng=rng()), enlarged)


TRANSFORMERS = {
    "ViT, class token": "blocks.2.norm1",
    "ViT, non-square grid": "blocks.2.norm1",
    "ViT, registers": "blocks.2.norm1",
    "ViT, no class token": "blocks.2",
    "ViT, torchvision": "encoder.layers.encoder_layer_1.ln_1",
    "DeiT, distilled": "blocks.2.norm1",
    "Swin v1": "norm",
    "Swin v2": "norm",
}
"""The layers that pytorch-grad-cam's and torchcam's documentation recommend; they give the same output as ours."""


class Maps(nn.Module):
    """Stands before what reads a layer and shows its output as maps, as `reshape_transform` does."""

    def __init__(self, prefix: int, grid: tuple[int, int], *, channels_last: bool) -> None:
        super().__init__()
        self.prefix, self.grid, self.channels_last = prefix, grid, channels_last

    def forward(self, x: Tensor) -> Tensor:
        if self.channels_last:
            return x.permute(0, 3, 1, 2)
        return x[:, self.prefix :].transpose(1, 2).reshape(len(x), -1, *self.grid)


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize(
    ("method", "peer"),
    [
        (GradCAM, pytorch_grad_cam.GradCAM),
        (GradCAMPlusPlus, pytorch_grad_cam.GradCAMPlusPlus),
        (LayerCAM, pytorch_grad_cam.LayerCAM),
        (HiResCAM, pytorch_grad_cam.HiResCAM),
    ],
    ids=lambda thing: getattr(thing, "name", ""),
)
def test_pytorch_grad_cam_on_transformers(method: type[Attribution], peer: Callable[..., Any], name: str) -> None:
    (architecture,) = (one for one in ARCHITECTURES if one.name == name)
    model = architecture.model()
    model = replace(model, network=Louder(model.network))
    pixels = torch.rand(2, 3, architecture.size, architecture.size, generator=rng()).double()
    target = torch.tensor([1, 4])
    found = feature_layer(model, pixels).removeprefix("network.")
    recommended = TRANSFORMERS[name]
    same = model.activations(pixels, [f"network.{found}", f"network.{recommended}"])
    assert torch.equal(same[f"network.{found}"], same[f"network.{recommended}"])
    grid = {"ViT, non-square grid": (4, 8), "Swin v1": (7, 7), "Swin v2": (8, 8)}.get(name, (4, 4))
    prefix = {"ViT, no class token": 0, "ViT, registers": 6, "DeiT, distilled": 2}.get(name, 1)
    shown = Maps(prefix, grid, channels_last=name.startswith("Swin"))
    seen = FromPixels(model)
    layer = seen.network.get_submodule(f"network.{recommended}")
    wanted = [model_targets.ClassifierOutputTarget(int(label)) for label in target]
    with peer(model=seen, target_layers=[layer], reshape_transform=shown) as cam:
        theirs = torch.from_numpy(np.asarray(cam(pixels.clone().requires_grad_(), wanted))).double()
    ours = method()(model, pixels, target, rng=rng())
    low, high = ours.amin((1, 2), keepdim=True), ours.amax((1, 2), keepdim=True)
    assert (high > low).all()
    assert_agrees((ours - low) / (high - low), theirs)


class AsMaps(nn.Module):
    """Runs a layer and shows its output as maps on the way, for a library that reads nothing else."""

    def __init__(self, layer: nn.Module, maps: Maps) -> None:
        super().__init__()
        self.layer, self.shown, self.maps = layer, nn.Identity(), maps

    def forward(self, x: Tensor) -> Tensor:
        output = self.layer(x)
        shown = self.shown(self.maps(output).contiguous())
        if self.maps.channels_last:
            return shown.permute(0, 2, 3, 1)
        return torch.cat([output[:, : self.maps.prefix], shown.flatten(2).transpose(1, 2)], 1)


@pytest.mark.parametrize("name", ["ViT, class token", "ViT, registers", "ViT, non-square grid", "Swin v1", "Swin v2"])
@pytest.mark.parametrize(
    ("method", "peer"), [(GradCAM, torchcam.GradCAM), (LayerCAM, torchcam.LayerCAM)], ids=lambda one: one.__name__
)
def test_torchcam_on_transformers(method: type[Attribution], peer: Callable[..., Any], name: str) -> None:
    (architecture,) = (one for one in ARCHITECTURES if one.name == name)
    model = architecture.model()
    pixels = torch.rand(2, 3, architecture.size, architecture.size, generator=rng()).double()
    target = torch.tensor([1, 4])
    grid = {"ViT, non-square grid": (4, 8), "Swin v1": (7, 7), "Swin v2": (8, 8)}.get(name, (4, 4))
    seen = FromPixels(model)
    recommended = TRANSFORMERS[name]
    maps = Maps(6 if "registers" in name else 1, grid, channels_last=name.startswith("Swin"))
    seen.network.set_submodule(recommended, AsMaps(seen.network.get_submodule(recommended), maps))
    logging.disable()
    with peer(seen, f"network.{recommended}.shown") as cam:
        theirs = cam(target.tolist(), seen(pixels.clone().requires_grad_()), normalized=False)[0].detach()
    logging.disable(logging.NOTSET)
    enlarged = F.interpolate(theirs[:, None], pixels.shape[-2:], mode="bilinear")[:, 0]
    assert_agrees(method()(model, pixels, target, rng=rng()), enlarged)
