"""Concepts, units and TCAV on layers that hold tokens: transformers with and without a class token, Swin, a mixer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import deepscope as ds
from architectures import ARCHITECTURES
from deepscope.models import VisionModel
from deepscope.models.feature_map import feature_layer

_NAMED = {one.name: one for one in ARCHITECTURES}
_TOKENS = ("ViT, class token", "ViT, no class token", "Swin v1", "Swin, torchvision", "MLP-Mixer")


def _model(name: str) -> VisionModel:
    model = _NAMED[name].model()
    return dataclasses.replace(model, network=model.network.float())


def _images(model: VisionModel, count: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return functional.interpolate(torch.rand(count, 3, 8, 8, generator=rng), model.preprocessing.size, mode="bilinear")


@pytest.mark.parametrize("name", _TOKENS)
def test_concepts_are_found_where_positions_are_tokens(name: str) -> None:
    model = _model(name)
    images = _images(model, 24, 0)
    label = int(model(images).argmax(1).mode().values)
    found = ds.concepts.find(model, images, label, concepts=3, evaluated=2)
    height, width = found.maps.shape[2:]
    assert height * width > 1 and len(found) == 3 and np.isfinite(found.deletion).all()
    first = images[model(images).argmax(1) == label][list(found.checked)]
    with torch.no_grad():
        score = float(model(first)[:, label].mean())
    assert found.deletion[0] == pytest.approx(score, rel=1e-3, abs=1e-4), "the score of the images themselves"
    assert found.result().metrics["concepts"] == 3


@pytest.mark.parametrize("name", _TOKENS)
def test_units_and_concepts_of_ones_own_are_read_from_tokens(name: str) -> None:
    model = _model(name)
    images = _images(model, 12, 1)
    layer = feature_layer(model, images[:1])
    units = ds.concepts.units(model, images, layer, channels=[0, 5], top=2)
    with torch.no_grad():
        output = model.activations(images, [layer])[layer]
    if name == "Swin, torchvision":  # whose last layer moves the channels to the front
        output = output.movedim(1, -1)
    tokens = output.reshape(len(images), -1, output.shape[-1])
    skipped = 1 if name == "ViT, class token" else 0
    for unit in units.units:
        values = tokens[:, skipped:, unit.channel].amax(1)
        assert unit.activations[0] == pytest.approx(float(values.max()), rel=1e-5)
        assert unit.images[0] == int(values.argmax())
    concept, pool = _images(model, 6, 2), _images(model, 24, 3)
    concept[:, 0] = 1 - concept[:, 0] / 4
    tests = ds.concepts.tcav(model, images, {"red": concept}, pool, random_sets=19, counterparts=1).tests
    assert [one.layer for one in tests] == [layer] and np.isfinite(tests[0].found.effect)
