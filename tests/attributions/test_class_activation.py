"""HiRes-CAM, Eigen-CAM and Finer-CAM: closed forms, and agreement with pytorch-grad-cam on every layout of features."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from architectures import ARCHITECTURES
from deepscope.attributions import EigenCAM, FinerCAM, GradCAM, HiResCAM, attribute
from deepscope.attributions.eigen_cam import projection
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.feature_map import feature_layer
from deepscope.models.heads import Head
from real_networks import FromPixels

LAYOUTS = {
    "ResNet": lambda x: x,
    "ConvNeXt": lambda x: x,
    "Swin v1": lambda x: x.permute(0, 3, 1, 2),
    "ViT, class token": lambda x: x[:, 1:].transpose(1, 2).unflatten(2, (4, 4)),
    "ViT, non-square grid": lambda x: x[:, 1:].transpose(1, 2).unflatten(2, (4, 8)),
    "ViT, registers": lambda x: x[:, 6:].transpose(1, 2).unflatten(2, (4, 4)),
}
"""Architecture -> a layer's output as maps: channels first, channels last, and tokens."""
ALIKE = 1e-5


def assert_agrees(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= ALIKE * float(theirs.abs().max())


def network(head: nn.Module) -> VisionModel:
    """A convolution whose output is the feature map, and what follows it; on pixels as they are."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Tanh(), head).double()
    prepared = Preprocessing(resize=9, crop=9, mean=(0, 0, 0), std=(1, 1, 1))
    return VisionModel("tiny", layers, prepared, ("a", "b", "c", "d", "e"))


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(3, 3, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_hires_cam_shares_the_score_among_the_positions(pixels: Tensor) -> None:
    """A linear layer after the map: each position's share is known, and Grad-CAM does not give it."""
    linear = nn.Linear(4 * 4 * 4, 5, bias=False)
    model = network(nn.Sequential(nn.Flatten(), linear))
    features = model.activations(pixels, ["1"])["1"]
    shares = (features * linear.weight[2].view(4, 4, 4)).sum(1)
    torch.testing.assert_close(shares.sum((1, 2)), model(pixels)[:, 2])
    expected = F.interpolate(shares.relu()[:, None], (9, 9), mode="bilinear")[:, 0]
    target = torch.tensor([2, 2, 2])
    torch.testing.assert_close(HiResCAM("1")(model, pixels, target), expected)
    assert not torch.allclose(GradCAM("1")(model, pixels, target), expected)


def test_eigen_cam_is_the_first_principal_component() -> None:
    """Features that vary along one known direction, and a little along others."""
    rng = torch.Generator().manual_seed(3)
    strength = torch.rand(2, 5, 6, generator=rng, dtype=torch.float64)
    strength[:, 2, 3] = 4  # what stands out is positive, whatever the sign of the direction
    direction = F.normalize(torch.randn(7, generator=rng, dtype=torch.float64), dim=0)
    features = 10 + torch.einsum("nhw,c->nchw", strength, -direction)
    expected = strength - strength.mean((1, 2), keepdim=True)
    torch.testing.assert_close(projection(features), expected)
    noisy = features + 1e-6 * torch.randn(features.shape, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(projection(noisy), expected, rtol=1e-4, atol=1e-4)


def test_eigen_cam_is_the_same_for_every_class(pixels: Tensor) -> None:
    model = network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)))
    one, other = (EigenCAM()(model, pixels, torch.full((3,), label)) for label in (0, 4))
    assert torch.equal(one, other) and (one > 0).any()


def test_finer_cam_is_grad_cam_of_a_difference_of_scores(pixels: Tensor) -> None:
    """On a network that averages features and applies a linear layer, all gradients are known."""
    linear = nn.Linear(4, 5)
    model = network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear))
    features = model.activations(pixels, ["1"])["1"]
    target, similar, strength = torch.tensor([0, 3, 1]), 2, 0.6
    found = FinerCAM(similar=similar, strength=strength, layer="1")(model, pixels, target)
    for i in range(3):
        pooled = features[i].mean((1, 2)).requires_grad_()
        logits = linear(pooled)
        distance = (logits - logits[target[i]]).detach().abs()
        near = distance.argsort()[1 : 1 + similar]
        weights = logits.softmax(0)[near] / logits.softmax(0)[near].sum()
        score = logits[target[i]] - strength * (weights * logits[near]).sum()
        (slope,) = torch.autograd.grad(score, pooled)
        expected = torch.einsum("chw,c->hw", features[i], slope / 16).relu()
        torch.testing.assert_close(found[i], F.interpolate(expected[None, None], (9, 9), mode="bilinear")[0, 0])
    plain = GradCAM("1")(model, pixels, target)
    torch.testing.assert_close(FinerCAM(strength=0, layer="1")(model, pixels, target), plain)
    assert not torch.allclose(found, plain)


def test_finer_cam_weights_labels_by_their_own_probabilities(pixels: Tensor) -> None:
    """Labels do not share one probability: the sigmoid of each is its weight."""
    linear = nn.Linear(4, 5)
    softmax = network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear))
    model = dataclasses.replace(softmax, head=Head("multilabel"))
    features, target = model.activations(pixels, ["1"])["1"], torch.tensor([0, 3, 1])
    found = FinerCAM(similar=2, layer="1")(model, pixels, target)
    for i in range(3):
        pooled = features[i].mean((1, 2)).requires_grad_()
        logits = linear(pooled)
        near = (logits - logits[target[i]]).detach().abs().argsort()[1:3]
        weights = logits.sigmoid()[near] / logits.sigmoid()[near].sum()
        (slope,) = torch.autograd.grad(logits[target[i]] - (weights * logits[near]).sum(), pooled)
        expected = torch.einsum("chw,c->hw", features[i], slope / 16).relu()
        torch.testing.assert_close(found[i], F.interpolate(expected[None, None], (9, 9), mode="bilinear")[0, 0])
    assert not torch.allclose(found, FinerCAM(similar=2, layer="1")(softmax, pixels, target))


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_finer_cam_of_either_side_of_one_logit_is_grad_cam(strength: float, pixels: Tensor) -> None:
    """The other class is the negative of the class, so that their difference is a multiple of its score."""
    plain = network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)))
    model = dataclasses.replace(plain, categories=("no", "yes"), head=Head("binary", (0.3,)))
    target = torch.tensor([0, 1, 0])
    found = FinerCAM(strength=strength, layer="1")(model, pixels, target)
    torch.testing.assert_close(found, (1 + strength) * GradCAM("1")(model, pixels, target))
    assert float(found.max()) > 0


def test_finer_cam_of_a_contrast_has_one_similar_class(pixels: Tensor) -> None:
    model = network(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)))
    target, versus = torch.tensor([0, 0, 1]), torch.tensor([2, 2, 4])
    one, other = (attribute(method, model, pixels, target, versus=versus) for method in (FinerCAM(), GradCAM()))
    torch.testing.assert_close(one, other)


def peer(name: str) -> Any:
    grad_cam = pytest.importorskip("pytorch_grad_cam", reason="compares with it: pip install 'deepscope[peers]'")
    return getattr(grad_cam, name)


def exact_scale(cam: Any, target_size: Any = None) -> Any:
    """pytorch-grad-cam's scaling to [0, 1], without the 1e-7 that it adds to a map's largest value."""
    maps = torch.from_numpy(np.asarray(cam)).double()
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    maps = torch.where(high > low, (maps - low) / (high - low), 0.0)
    if target_size is not None:
        maps = F.interpolate(maps[:, None], target_size[::-1], mode="bilinear", align_corners=False)[:, 0]
    return maps.numpy()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", [HiResCAM(), FinerCAM(), FinerCAM(strength=0.5), EigenCAM()], ids=lambda m: str(m))
def test_pytorch_grad_cam_agrees(method: Any, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = peer(type(method).__name__)
    monkeypatch.setattr("pytorch_grad_cam.base_cam.scale_cam_image", exact_scale)
    monkeypatch.setattr("pytorch_grad_cam.eigen_cam.get_2d_projection", signed_projection)
    (architecture,) = (one for one in ARCHITECTURES if one.name == layout)
    model, pixels = architecture.model(), architecture.pixels()
    target = model(pixels).argmax(1)
    seen = FromPixels(model)
    layer = feature_layer(model, pixels)
    with made(seen, [seen.network.get_submodule(layer)], reshape_transform=LAYOUTS[layout]) as cam:
        extra = {"alpha": method.strength} if isinstance(method, FinerCAM) else {}
        theirs = torch.from_numpy(cam(pixels.clone().requires_grad_(), None, **extra))
    ours = torch.from_numpy(exact_scale(method(model, pixels, target).numpy()))
    assert float(ours.max()) > 0.99
    assert_agrees(ours, theirs)


def signed_projection(features: Any) -> Any:
    """pytorch-grad-cam has Eigen-CAM with whatever sign LAPACK gives; this is its projection with a defined sign."""
    svd = pytest.importorskip("pytorch_grad_cam.utils.svd_on_activations")
    return svd.get_2d_projection_with_sign_correction(features)
