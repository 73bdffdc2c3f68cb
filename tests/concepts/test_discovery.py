"""Concepts of a class: a planted one comes first, removal on a linear rest has a closed form, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import deepscope as ds
from deepscope.concepts.factors import factorise
from deepscope.concepts.patches import Patch
from deepscope.concepts.removal import Removal
from deepscope.errors import DataError, SettingError, UnknownNameError
from deepscope.models import Preprocessing, VisionModel
from deepscope.session import Session
from networks import tiny_model, tiny_transformer

_SIZE = 16


@pytest.fixture
def model() -> VisionModel:
    """Three channels, red, green and blue, of 4 x 4 positions; the class rises with red most, and falls with blue."""
    network = nn.Sequential(nn.AvgPool2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    network[4].weight.data = torch.tensor([[4.0, 1.0, -2.0], [0.0, 0.0, 0.0]])
    network[4].bias.data = torch.tensor([5.0, 0.0])
    plain = Preprocessing(_SIZE, _SIZE, mean=(0.0,) * 3, std=(1.0,) * 3)
    return VisionModel("colours", network, plain, ("warm", "cold"))


def spots(count: int = 12) -> torch.Tensor:
    """Dark images with squares of each of the three colours; every square covers one position."""
    rng = torch.Generator().manual_seed(0)
    pixels = torch.zeros(count, 3, 4, 4)
    for image in pixels:
        places = torch.randperm(16, generator=rng)[:9]
        for number, place in enumerate(places.tolist()):
            image[number % 3, place // 4, place % 4] = 0.5 + 0.5 * torch.rand(1, generator=rng)
    return pixels.repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_concepts_are_ordered_by_what_they_do_for_the_class(model: VisionModel) -> None:
    pixels = spots()
    found = ds.concepts.find(model, pixels, "warm", layer="1", concepts=3, patch=0.25)
    assert found.bank.argmax(1).tolist() == [0, 1, 2], "red, green, and blue, which lowers the score, last"
    assert found.bank.max(1).min() > 0.99 and found.explained > 0.99 and not found.shifted
    effects = torch.tensor([4.0, 1.0, -2.0]) * pixels[list(found.fitted)].mean((0, 2, 3))
    np.testing.assert_allclose([one.effect.value for one in found.concepts], effects.numpy(), rtol=0.02)
    amounts = (torch.tensor([4.0, 1.0, -2.0]) * pixels[list(found.fitted)].mean((2, 3))).square()
    wanted = (amounts / amounts.sum(1, keepdim=True)).mean(0)
    np.testing.assert_allclose([one.importance for one in found.concepts], wanted.numpy(), atol=0.06)
    assert found.gain.low > 0
    scores = model(pixels[list(found.checked)])[:, 0].mean()
    assert found.deletion[0] == pytest.approx(float(scores), abs=1e-4) == pytest.approx(found.random[0], abs=1e-4)
    assert found.deletion[-1] == pytest.approx(5.0, abs=0.05)
    for column, concept in enumerate(found.concepts):
        for patch in concept.patches:
            part = patch.of(pixels[patch.image])
            assert part.shape == (3, 4, 4) and int(part.mean((1, 2)).argmax()) == column
    result = found.result()
    assert "Deletion confirms" in result.blocks[0].text and result.metrics["importance/1"] > 0.5  # type: ignore[union-attr]
    assert len(found.to_pandas()) == 3


def test_the_same_seed_gives_the_same_concepts(model: VisionModel) -> None:
    one, same = (ds.concepts.find(model, spots(), "warm", layer="1", concepts=3, seed=3) for _ in range(2))
    assert np.array_equal(one.bank, same.bank) and one.gain == same.gain


def test_a_transformer_with_negative_activations_is_shifted() -> None:
    transformer = tiny_transformer(size=32)
    images = torch.rand(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = ds.concepts.find(transformer, images, concepts=3, evaluated=2)
    assert found.shifted and found.maps.shape[1:] == (3, 4, 4)
    assert any("shifted" in getattr(block, "text", "") for block in found.result().blocks)


def test_all_concepts_kept_leave_the_score_of_the_image() -> None:
    model, images = tiny_model(), torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = model.activations(images, ["4"])["4"]
        wanted = float(model(images[:1])[0, 2])
    removal = Removal(model, "4", 2, factorise(maps.movedim(1, 3).reshape(-1, 8).numpy(), 3, seed=0))
    score = removal.of(images[:1], removal.maps(images[:1])[0])
    assert score(np.ones((1, 3), np.float32))[0] == pytest.approx(wanted, abs=1e-5)


def test_a_patch_lies_around_the_largest_value_and_inside_the_image() -> None:
    values = np.zeros((4, 8), np.float32)
    values[1, 4] = 1
    assert Patch.at(7, values, (40, 80), 0.25) == Patch(7, (35, 10, 55, 20))
    values[3, 7] = 2
    assert Patch.at(7, values, (40, 80), 0.5).box == (40, 20, 80, 40)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"concepts": 1}, SettingError, "concepts must be a whole number, and at least 2"),
        ({"concepts": 4}, SettingError, "concepts must be at most 3, as there are .* 3 channels"),
        ({"patch": 0}, SettingError, "patch must be above 0 and at most 1"),
        ({"target": "cold"}, DataError, "colours classifies none of the 12 images as cold"),
        ({"target": "cat"}, UnknownNameError, "no class is named 'cat'"),
        ({"layer": "9"}, UnknownNameError, "no layer is named '9'"),
        ({"layer": "3"}, SettingError, "gives no feature map"),
        ({"limit": 3}, DataError, "at least 4 images that .* classifies as warm \\(got 3\\)"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(
    settings: dict[str, Any], error: type[Exception], said: str, model: VisionModel
) -> None:
    with pytest.raises(error, match=said):
        ds.concepts.find(model, spots(), session=Session(quiet=True), **{"layer": "1", "concepts": 3, **settings})


def test_no_label_is_named_where_none_is_predicted() -> None:
    network = nn.Sequential(nn.AvgPool2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    nn.init.constant_(network.get_parameter("4.bias"), -50)
    model = ds.wrap(network, ("warm", "cold"), head="multilabel", preprocessing=Preprocessing(_SIZE, _SIZE))
    with pytest.raises(DataError, match="predicts no label in any of the images"):
        ds.concepts.find(model, spots(), session=Session(quiet=True))
    with pytest.raises(DataError, match="classifies none of the 12 images as cold"):
        ds.concepts.find(model, spots(), "cold", session=Session(quiet=True))
