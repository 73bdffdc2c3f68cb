"""What holds for every attribution method on every architecture of the list: it works, or refuses in one line."""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from architectures import ARCHITECTURES, Architecture, quick
from deepscope.attributions import Attribution, score_cam
from deepscope.attributions.engine import gradient
from deepscope.errors import ModelError, UnsupportedError
from deepscope.models import VisionModel
from deepscope.models.fast_backward import FastBackward
from deepscope.models.feature_map import as_map

CHECKOUT = Path(__file__).parent.parent.parent
TOOL = CHECKOUT / "tools" / "architecture_support.py"

classifiers = pytest.mark.parametrize(
    "architecture", [one for one in ARCHITECTURES if one.classes], ids=lambda one: one.name
)


@cache
def promised() -> Mapping[str, Mapping[str, bool]]:
    """What the page of the documentation says: architecture -> method -> whether it works."""
    return runpy.run_path(str(TOOL))["read"]()


@cache
def model_of(architecture: Architecture) -> VisionModel:
    return architecture.model()


@torch.no_grad()
def predicted(architecture: Architecture) -> Tensor:
    """A final ReLU, as SqueezeNet's, leaves the other classes no gradient."""
    return model_of(architecture)(architecture.pixels()).argmax(1)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def _few_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score-CAM makes a pass per channel, and some networks have hundreds: here it sees at most 24."""

    def few(*given: Any) -> Tensor:
        channels = as_map(*given)
        return channels[:, :: -(-channels.shape[1] // 24)]

    monkeypatch.setattr(score_cam, "as_map", few)


@pytest.mark.usefixtures("_few_channels")
@pytest.mark.parametrize("method", Attribution.members().values(), ids=lambda one: one.name)
@classifiers
def test_works_or_refuses_in_one_line(method: type[Attribution], architecture: Architecture) -> None:
    model, pixels, own = model_of(architecture), architecture.pixels(), quick(method)
    target = predicted(architecture)
    works, rerun = (
        promised()[architecture.name][method.name],
        "the page says otherwise: run tools/architecture_support.py",
    )
    try:
        maps = own(model, pixels, target, rng=rng())
    except UnsupportedError as refusal:
        assert not works, rerun
        message = str(refusal)
        assert "\n" not in message and model.name in message
        others = {name for name in Attribution.members() if re.search(rf"\b{name}\b", message)} - {method.name}
        assert len(others) >= 2, f"the refusal names no two methods that work: {message}"
        assert others <= {"saliency", "integrated-gradients", "occlusion"}  # which this test runs on each network
        return
    assert works, rerun
    side = architecture.size
    assert maps.shape in (torch.Size([2, side, side]), torch.Size([2, 3, side, side]))
    assert maps.isfinite().all() and not maps.requires_grad and maps.dtype == pixels.dtype
    if method.name in ("saliency", "integrated-gradients", "occlusion"):
        assert (maps != 0).flatten(1).any(1).all()
    generator = rng()
    apart = [own(model, pixels[i : i + 1], target[i : i + 1], rng=generator) for i in range(2)]
    torch.testing.assert_close(torch.cat(apart), maps, rtol=1e-6, atol=1e-9 + 1e-7 * float(maps.abs().max()))


@classifiers
def test_fast_gradients_are_those_of_autograd(architecture: Architecture) -> None:
    model, pixels = model_of(architecture), architecture.pixels()
    leaf, target = pixels.clone().requires_grad_(), predicted(architecture)
    (wanted,) = torch.autograd.grad(model(leaf).gather(1, target[:, None]).sum(), leaf)
    for fast in (FastBackward.on(pixels.device), FastBackward.of(model, pixels)):
        found, _ = gradient(model, pixels, target, fast=fast)
        assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())


def test_a_network_without_classes_is_refused() -> None:
    (features,) = (one for one in ARCHITECTURES if not one.classes)
    with pytest.raises(ModelError, match="no class layer"):
        Attribution.named("saliency")(model_of(features), features.pixels(), torch.tensor([0, 0]))


def test_the_list_covers_what_people_use() -> None:
    names = [one.name for one in ARCHITECTURES]
    assert len(names) >= 24 and len(set(names)) == len(names)
