"""Which class is explained, and why it and not another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.attributions import (
    GradCAM,
    GradientTimesInput,
    IntegratedGradients,
    Occlusion,
    Saliency,
    compare,
    evaluate,
    explain,
)
from deepscope.commands import explain as command
from deepscope.errors import DataError, SettingError, UnknownNameError, UnsupportedError
from deepscope.models import VisionModel
from deepscope.models.heads import Head
from deepscope.results import ImageGrid
from deepscope.session import Session
from networks import linear_model, tiny_model, tiny_transformer

SIDE = 8


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.randn(4, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(weights: torch.Tensor) -> VisionModel:
    return linear_model(weights, size=SIDE)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def slope(model: VisionModel, weights: torch.Tensor, one: int, other: int) -> torch.Tensor:
    """The gradient of the difference of two logits of a linear network, with respect to pixels."""
    return (weights[one] - weights[other]).view(3, SIDE, SIDE) / torch.tensor(model.preprocessing.std).view(3, 1, 1)


def test_a_contrast_is_of_the_difference_of_two_logits(
    model: VisionModel, weights: torch.Tensor, pixels: torch.Tensor
) -> None:
    expected = slope(model, weights, 2, 0)
    found = explain(model, pixels, Saliency(), target="class 2", versus=0)
    torch.testing.assert_close(found.maps, expected.abs().amax(0).expand(3, -1, -1))
    shares = expected * pixels
    for method in (GradientTimesInput(), IntegratedGradients(steps=3)):
        torch.testing.assert_close(explain(model, pixels, method, target=2, versus=0).maps, shares)
    covered = explain(model, pixels, Occlusion(window=1, stride=1, baseline="black"), target=2, versus=0).maps
    torch.testing.assert_close(covered, shares.sum(1), rtol=1e-3, atol=1e-4)
    assert found.versus is not None and found.versus.tolist() == [0, 0, 0] and not found.by_truth
    assert list(found.columns()["versus"]) == ["class 0"] * 3


def test_a_probability_is_that_of_one_class_among_the_two(model: VisionModel, pixels: torch.Tensor) -> None:
    """RISE weights masks by a probability: with one mask that hides nothing, the map is that probability."""
    from deepscope.attributions import RISE

    found = explain(model, pixels, RISE(masks=1, visible=1), target=1, versus=3).maps
    with torch.no_grad():
        both = model(pixels)[:, [1, 3]].softmax(1)[:, 0]
    torch.testing.assert_close(found, both[:, None, None].expand_as(found))


def test_roles_are_each_images_own_class(model: VisionModel, pixels: torch.Tensor) -> None:
    with torch.no_grad():
        order = model(pixels).argsort(1, descending=True)
    second = explain(model, pixels, "saliency", target="second", versus="predicted")
    assert second.versus is not None
    assert second.classes.tolist() == order[:, 1].tolist() and second.versus.tolist() == order[:, 0].tolist()
    assert explain(model, pixels, "saliency", versus="second").classes.tolist() == order[:, 0].tolist()
    labelled = list(zip(pixels, [3, 0, 2]))
    assert explain(model, labelled, "saliency", target="true").classes.tolist() == [3, 0, 2]
    found = explain(model, [*labelled, pixels[0]], "saliency", target="true")
    assert found.classes.tolist() == [3, 0, 2]
    assert [skipped.path for skipped in found.skipped] == ["image-3"] and "not known" in found.skipped[0].reason
    assert compare(model, labelled, "saliency", target="true").target.tolist() == [3, 0, 2]


def test_images_of_one_class_are_left_out_of_a_contrast_and_named(model: VisionModel, pixels: torch.Tensor) -> None:
    with torch.no_grad():
        predicted = model(pixels).argmax(1).tolist()
    wrong = (predicted[1] + 1) % 4
    labelled = list(zip(pixels, [predicted[0], wrong, predicted[2]]))
    found = explain(model, labelled, "saliency", target="true", versus="predicted")
    assert found.classes.tolist() == [wrong] and len(found) == 1 and found.rows.tolist() == [0]
    assert [(skipped.path, "same class" in skipped.reason) for skipped in found.skipped] == [
        ("image-0", True),
        ("image-2", True),
    ]
    with pytest.raises(DataError, match="no image is left"):
        explain(model, labelled[:1], "saliency", target="true", versus="predicted")
    with pytest.raises(DataError, match="no image is left"):
        compare(model, labelled[:1], "saliency", target="true", versus="predicted")


def test_a_class_that_is_named_as_a_role_goes_by_its_number(
    weights: torch.Tensor, pixels: torch.Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    model = replace(linear_model(weights, size=SIDE), categories=("false", "true", "3", "other"))
    for given in (1, "1", "True", np.int64(1)):
        assert explain(model, pixels, "saliency", target=given).classes.tolist() == [1, 1, 1]  # type: ignore[arg-type]
    found = explain(model, list(zip(pixels, [0, 3, 0])), "saliency", target="true")
    assert found.classes.tolist() == [0, 3, 0]
    assert "its number, 1" in capsys.readouterr().err


def test_methods_that_do_not_know_classes_cannot_contrast_them(pixels: torch.Tensor) -> None:
    model = tiny_transformer(size=SIDE * 2)
    images = torch.rand(1, 3, SIDE * 2, SIDE * 2)
    with pytest.raises(UnsupportedError, match="attention-rollout are the same for every class"):
        explain(model, images, "attention-rollout", versus=0, target=1)
    found = compare(model, images, ["attention-rollout", "saliency"], target=1, versus=0)
    assert list(found.maps) == ["saliency"] and "same for every class" in found.refused["attention-rollout"]


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"target": 1.5}, SettingError, r"target must be a class, by name or number \(got 1.5\)"),
        ({"target": True}, SettingError, "target must be a class"),
        ({"versus": [1]}, SettingError, "versus must be a class"),
        ({"target": 1, "versus": "class 1"}, SettingError, "versus must be another class than target"),
        ({"versus": "predicted"}, SettingError, "another class"),
        ({"versus": 0, "top": 2}, SettingError, "versus cannot be combined with top"),
        ({"top": 1.5}, SettingError, "top must be between 1 and 4"),
        ({"versus": "clas 3"}, UnknownNameError, "did you mean 'class 3'"),
        ({"target": "true"}, DataError, "no image is left to explain: image-2: its true class is not known"),
        ({"method": 5}, SettingError, "method must be the name of a method .attribution."),
        ({"method": GradCAM}, SettingError, r"write GradCAM\(\)"),
    ],
)
def test_what_is_no_class_or_method_is_a_typed_error(
    settings: dict[str, Any], kind: type[Exception], said: str, model: VisionModel, pixels: torch.Tensor
) -> None:
    with pytest.raises(kind, match=said):
        explain(model, pixels, **{"method": "saliency", **settings})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, x: compare(m, x, 5), "methods must be attribution methods"),  # type: ignore[arg-type]
        (lambda m, x: evaluate(m, x, ["saliency", 5]), "methods must be attribution methods"),  # type: ignore[list-item]
        (lambda m, x: evaluate(m, x, "saliency", measures=[Saliency()]), "measures must be measures"),  # type: ignore[list-item]
        (lambda m, x: compare(m, x, target=1.5), "target must be a class"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_method_in_a_list_is_a_typed_error(
    call: Any, said: str, model: VisionModel, pixels: torch.Tensor
) -> None:
    with pytest.raises(SettingError, match=said):
        call(model, pixels)


def test_the_command_shows_both_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load_model", lambda name, session: tiny_model())
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    session = Session(quiet=True, cache=tmp_path / "cache")
    result = command.Explain(GradCAM(), (tmp_path / "a.png",), target="wombat", versus="hay").run(session)
    figure = next(block for block in result.blocks if isinstance(block, ImageGrid))
    assert "wombat" in figure.rows[0][1].caption and figure.rows[0][1].caption.startswith("wombat (")
    assert "not hay" in figure.rows[0][1].caption and "difference" in figure.caption
    assert result.arrays["versus"].tolist() == [2]


def test_a_single_label_has_no_second_one(pixels: torch.Tensor) -> None:
    model = replace(linear_model(torch.ones(1, 3 * SIDE * SIDE), size=SIDE), head=Head("multilabel"))
    for setting in ("target", "versus"):
        with pytest.raises(SettingError, match="second class: linear has a single one") as refused:
            explain(model, pixels, "saliency", **{setting: "second"})  # pyright: ignore[reportArgumentType]
        assert refused.value.setting == setting
