"""A classifier that a person trained and saved can be explained by every method."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from deepscope.attributions import Attribution, DeepLIFT
from deepscope.commands.explain import Explain
from deepscope.models import Preprocessing, load_model
from deepscope.models.classifier import Backbone, Classifier, Normalisation, NormalisationKind, View
from deepscope.models.saved import BackboneOrigin, save
from deepscope.session import Session

FEWER = {"samples": 2, "masks": 4}
SIDE = 64


def saved(folder: Path, kind: NormalisationKind) -> Path:
    """Three classes on random features of two views, the second mirrored."""
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(weights=None, num_classes=7).eval()
    views = (View(), View(mirrored=True))
    backbone = Backbone(network, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), [("features.6", "mean")], views)
    features = backbone(torch.rand(6, 3, SIDE, SIDE))[0].detach()
    normalisation = Normalisation.fit(kind, features)
    head = nn.Linear(normalisation(features).shape[1], 3)
    origin = BackboneOrigin("squeeze", "torchvision:squeezenet1_1", 7)
    classifier = Classifier([backbone], [normalisation], head).eval()
    save(folder, classifier, [origin], Preprocessing(70, SIDE), ["cat", "dog", "eel"])
    return folder


@pytest.mark.filterwarnings("ignore:.*raise samples or error:UserWarning")
def test_every_method_explains_it(tmp_path: Path) -> None:
    model = saved(tmp_path / "mine", "power")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 72, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    for method in Attribution.members().values():
        if method.of_transformers:
            continue
        fields = {field.name for field in dataclasses.fields(method)}  # type: ignore[arg-type]
        quick = method(**{name: value for name, value in FEWER.items() if name in fields})  # type: ignore[abstract]
        command = Explain(quick, (tmp_path / "photo.png",), target="dog", model=str(model))
        maps = command.run(Session(cache=tmp_path / "cache", quiet=True)).arrays["maps"]
        assert maps.shape[-2:] == (SIDE, SIDE), method.name
        assert np.isfinite(maps).all() and (maps != 0).any(), method.name


@pytest.mark.parametrize("kind", ["raw", "l2", "power", "standard", "whiten"])
def test_deep_lift_is_complete_through_every_normalisation(kind: NormalisationKind, tmp_path: Path) -> None:
    model = load_model(saved(tmp_path / "mine", kind), Session(quiet=True))
    pixels, target = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0])

    def logit(seen: Tensor) -> Tensor:
        with torch.no_grad():
            return model(seen).gather(1, target[:, None])[:, 0]

    shares = DeepLIFT()(model, pixels, target, rng=torch.Generator())
    rise = logit(pixels) - logit(torch.zeros_like(pixels))
    assert ((shares.sum((1, 2, 3)) - rise).abs() <= 1e-4 * logit(pixels).abs()).all()
