from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from deepscope.errors import DeepscopeError, SettingError
from deepscope.models import Preprocessing, VisionModel, wrap
from deepscope.models.heads import Head
from deepscope.models.preprocessing import from_levels
from networks import tiny_model


def test_logits_are_those_of_the_normalised_pixels() -> None:
    model = tiny_model()
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor(model.preprocessing.mean), torch.tensor(model.preprocessing.std)
    expected = model.network((pixels - mean[:, None, None]) / std[:, None, None])
    assert torch.equal(model(pixels), expected)


def test_the_network_is_frozen_and_the_pixels_are_not() -> None:
    model = tiny_model()
    pixels = torch.rand(2, 3, 16, 16, requires_grad=True)
    model(pixels).sum().backward()
    assert pixels.grad is not None
    assert not model.network.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (257, 256), (256, 256), (64, 900)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_preprocessing_is_torchvisions(size: tuple[int, int], interpolation: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(array)
    ours = Preprocessing(resize=256, crop=224, interpolation=interpolation)(image)  # type: ignore[arg-type]
    theirs = v2.Compose(
        [v2.Resize(256, interpolation=v2.InterpolationMode(interpolation)), v2.CenterCrop(224), v2.PILToTensor()]
    )(image)
    assert torch.equal(ours, theirs.float() / 255)


def test_preprocessing_survives_json() -> None:
    made = Preprocessing((30, 40), None, "bicubic", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert Preprocessing.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"crop": 0}', '{"resize": 1000000}', '{"std": [0, 1, 1]}', '{"interpolation": "magic"}', '{"x": 1}'],
)
def test_bad_preprocessing_is_refused(text: str) -> None:
    with pytest.raises(DeepscopeError, match="preprocessing"):
        Preprocessing.from_json(text)


@pytest.mark.parametrize("text", ["bee eater", "bee_eater", "Bee-Eater", "0", 0])
def test_a_class_has_many_spellings(text: str | int) -> None:
    assert tiny_model().category(text) == 0


def test_an_unknown_class_is_answered_with_the_nearest() -> None:
    with pytest.raises(DeepscopeError, match="wombat"):
        tiny_model().category("wombatt")
    with pytest.raises(DeepscopeError, match="0 to 3"):
        tiny_model().category(4)


def test_a_name_that_two_classes_share_is_refused_with_their_numbers() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    model = VisionModel("x", network, Preprocessing(1, 1), categories=("crane", "hay", "Crane"))
    assert model.category("crane") == 0  # written exactly so
    with pytest.raises(DeepscopeError, match="0 or 2"):
        model.category("CRANE")


def test_a_class_whose_name_is_a_number_goes_by_its_name() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 4))
    model = VisionModel("x", network, Preprocessing(1, 1), categories=("1", "10", "2", "hay"))
    assert [model.category(text) for text in ("1", "10", "2", "3", "0")] == [0, 1, 2, 3, 0]
    assert [model.category(index) for index in range(4)] == [0, 1, 2, 3]
    for text in ("11", "-1", "\u0663"):  # the last is an Arabic three
        with pytest.raises(DeepscopeError):
            model.category(text)


def test_activations_stop_early_and_are_not_overwritten_in_place() -> None:
    model = tiny_model()
    ran = []
    handle = model.layer("7").register_forward_hook(lambda *_: ran.append(1))
    pixels = torch.rand(2, 3, 16, 16)
    found = model.activations(pixels, ["0", "1"])
    handle.remove()
    assert not ran
    assert found["0"].min() < 0  # the ReLU that follows works in place
    assert torch.equal(found["0"].relu(), found["1"])
    assert not any(module._forward_hooks for module in model.network.modules())


def test_an_unknown_layer_is_answered_with_the_nearest() -> None:
    with pytest.raises(DeepscopeError, match="layer"):
        tiny_model().activations(torch.rand(1, 3, 16, 16), ["conv"])


def test_the_fingerprint_changes_with_a_weight() -> None:
    first, second = tiny_model(), tiny_model()
    assert first.fingerprint == second.fingerprint
    third = tiny_model()
    next(third.network.parameters()).data.view(-1)[0] += 1
    assert third.fingerprint != first.fingerprint


def test_the_identity_follows_the_weights_as_they_are_and_how_the_model_reads() -> None:
    model = tiny_model()
    assert model.identity == tiny_model().identity
    others = [
        replace(model, preprocessing=replace(model.preprocessing, mean=(0.1, 0.2, 0.3))),
        replace(model, categories=tuple("abcd")),
        replace(model, head=Head("multilabel")),
    ]
    assert len({model.identity, *(other.identity for other in others)}) == 4
    before = model.identity
    next(model.network.parameters()).data.view(-1)[0] += 1  # trained in place
    assert model.identity != before


def test_reading_nothing_is_an_error() -> None:
    with pytest.raises(DeepscopeError, match="no image"):
        tiny_model().read([])


def test_levels_become_the_same_pixels_wherever_they_are_divided() -> None:
    every = np.arange(256, dtype=np.uint8)
    assert (from_levels(torch.from_numpy(every)).numpy() == every.astype(np.float32) / np.float32(255)).all()
    picture = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)
    geometry = Preprocessing(resize=16, crop=12)
    levels, pixels = geometry.levels(picture), geometry(picture)
    assert levels.dtype == torch.uint8 and pixels.dtype == torch.float32
    assert torch.equal(pixels, levels.float() / 255)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resize", "16"),
        ("resize", 0),
        ("resize", 16.5),
        ("resize", None),
        ("resize", (16, 16, 16)),
        ("crop", -1),
        ("crop", True),
        ("crop", 10**9),
        ("interpolation", "magic"),
        ("mean", "abc"),
        ("mean", (float("nan"), 0, 0)),
        ("std", (0, 1, 1)),
        ("std", 5),
    ],
)
def test_preprocessing_of_no_sense_is_refused_by_its_field(field: str, value: Any) -> None:
    with pytest.raises(SettingError) as refused:
        Preprocessing(**{field: value})
    assert refused.value.setting == field


def test_means_may_be_a_list() -> None:
    assert Preprocessing(mean=[0.5] * 3, std=[1] * 3) == Preprocessing(mean=(0.5,) * 3, std=(1.0,) * 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("network", {"network": None}),
        ("network", {"network": "resnet18"}),
        ("network", {"network": torch.nn.Linear}),
        ("categories", {"categories": "abc"}),
        ("categories", {"categories": 3}),
        ("categories", {"categories": {"a", "b", "c"}}),
        ("categories", {"categories": {0: "a"}}),
        ("preprocessing", {"preprocessing": "imagenet"}),
        ("preprocessing", {"preprocessing": lambda image: image}),
    ],
)
def test_wrap_names_the_argument_that_is_wrong(field: str, arguments: dict[str, Any]) -> None:
    good = {"network": torch.nn.Identity(), "categories": ["a", "b", "c"], "preprocessing": Preprocessing(8, 8)}
    with pytest.raises(SettingError) as refused:
        wrap(**{**good, **arguments})
    assert refused.value.setting == field


def test_categories_may_be_an_array() -> None:
    assert wrap(torch.nn.Identity(), np.array(["a", "b"]), preprocessing=Preprocessing(8, 8)).categories == ("a", "b")  # type: ignore[arg-type]
