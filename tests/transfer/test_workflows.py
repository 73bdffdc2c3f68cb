"""The workflows from Python: models and images as objects, data that shows and saves itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepscope import render
from deepscope.commands.transfer_fit import TransferFit
from deepscope.commands.transfer_table import TransferTable
from deepscope.data import ClassFolders
from deepscope.errors import DataError, DeepscopeError, SettingError, UnsupportedError
from deepscope.models import Preprocessing, VisionModel, load_model
from deepscope.session import Session
from deepscope.transfer import FineTuning, Holdout, Recipe, compare_features, export, fit, improve
from networks import tiny_model
from painted import paint_folder


@pytest.fixture
def data(tmp_path: Path) -> ClassFolders:
    return ClassFolders.read(paint_folder(tmp_path / "data", train=10, test=0) / "train")


@pytest.fixture
def model() -> VisionModel:
    return tiny_model(size=16)


def forms(data: ClassFolders, model: VisionModel) -> dict[str, Any]:
    """The same images in every form, in the same order."""
    paths, labels = data.train.paths, [data.classes[label] for label in data.train.labels]
    return {
        "folder": data.root,
        "folders": data,
        "paths": list(zip(map(str, paths), labels, strict=True)),
        "PIL": [(Image.open(path).convert("RGB"), label) for path, label in zip(paths, labels, strict=True)],
        "arrays": [(np.asarray(Image.open(path)), label) for path, label in zip(paths, labels, strict=True)],
        "tensors": list(zip(model.read(paths), labels, strict=True)),
    }


def test_every_form_of_data_gives_the_same_comparison(data: ClassFolders, model: VisionModel, session: Session) -> None:
    found = {
        name: compare_features(each, [model], heads=["ridge"], holdout=Holdout(2), session=session)
        for name, each in forms(data, model).items()
    }
    wanted = found["folder"]
    for name, each in found.items():
        assert each.result().metrics == pytest.approx(dict(wanted.result().metrics)), name
        assert each.data.classes == data.classes
    assert wanted.data.name == "train" and found["PIL"].data.name == "images"


def test_a_comparison_is_that_of_the_command(data: ClassFolders, session: Session, tmp_path: Path) -> None:
    names = ("efficientnet_lite0@blocks.1", "efficientnet_lite0@blocks.2:max")
    command = TransferTable(str(data.root), features=names, size=32).run(session)
    recipes = [Recipe.parse(name, normalisation=kind, size=32) for name in names for kind in ("raw", "l2")]
    found = compare_features(data, recipes, session=session)
    assert found.result().metrics == command.metrics
    assert found.result().provenance == command.provenance
    frame = found.to_pandas()
    assert list(frame["features"]) == [str(recipe) for recipe in recipes]
    assert frame["validation"].idxmax() == found.best
    assert [p is None for p in found.p_values] == [place == found.best for place in range(len(found))]
    accuracy = [np.mean(np.concatenate(row.correct)) for row in found.rows]
    assert frame["accuracy"].to_numpy() == pytest.approx(accuracy)
    assert render.load(found.save(tmp_path / "saved")).metrics == command.metrics
    assert "Features for train" in found._repr_html_()


def test_a_fitted_classifier_is_a_model_and_that_of_the_command(
    data: ClassFolders, session: Session, tmp_path: Path
) -> None:
    name = "efficientnet_lite0@blocks.1"
    command = TransferFit(str(data.root), features=name, size=32).run(replace(session, out=tmp_path / "typed"))
    fitted = fit(data.root, Recipe.parse(name, size=32), session=session)
    assert fitted.result().metrics == command.metrics
    assert fitted.saved is None and "Saved" not in {block.title for block in fitted.result().blocks}
    paths = fitted.answers.paths
    with torch.no_grad():
        probabilities = fitted.model(fitted.model.read(paths)).softmax(1)
    assert torch.allclose(probabilities, fitted.answers.probabilities, atol=1e-4)
    frame = fitted.to_pandas()
    assert list(frame["image"]) == [str(path) for path in paths]
    assert frame["correct"].mean() == pytest.approx(command.metrics["accuracy"])
    assert (frame["predicted"] == frame["class"]).tolist() == frame["correct"].tolist()
    saved = fitted.save_model(tmp_path / "model")
    assert saved.saved is not None and load_model(tmp_path / "model").categories == data.classes
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == (
        tmp_path / "typed" / "weights.safetensors"
    ).read_bytes()
    assert "model is a model" in saved._repr_html_()


def test_every_form_of_data_gives_the_same_classifier(data: ClassFolders, model: VisionModel, session: Session) -> None:
    found = {name: fit(each, model, session=session) for name, each in forms(data, model).items()}
    wanted = found["folder"]
    for name, each in found.items():
        assert torch.allclose(each.answers.probabilities, wanted.answers.probabilities, atol=1e-5), name
        assert each.shots == wanted.shots
        shown = [pixels for pixels in each.answers.pictures.values() if pixels is not None]
        assert len(shown) == len(each.answers.mistakes())  # nothing is opened when they are drawn


def test_copies_among_images_from_memory_are_found(data: ClassFolders, model: VisionModel, session: Session) -> None:
    pairs = forms(data, model)["arrays"]
    assert not fit(pairs, model, session=session).split.copied.any()
    assert fit([*pairs, *pairs], model, session=session).split.copied.any()


def test_improvements_of_a_model_that_the_caller_holds(
    data: ClassFolders, model: VisionModel, session: Session, tmp_path: Path
) -> None:
    other = replace(copy.deepcopy(model), name="other")
    found = improve(data, model, others=[other], fine_tuning=FineTuning(epochs=1), session=session)
    frame = found.to_pandas()
    assert frame["idea"][0] == "baseline" and {"fine-tuning", "several networks"} <= set(frame["idea"])
    assert frame["p"][0] == 1
    assert found.model == "tiny" and set(found.models) == {"tiny", "other"}
    assert render.load(found.save(tmp_path / "saved")).metrics == found.result().metrics
    assert "One idea at a time" in found._repr_html_()


def test_a_network_of_one_input_size_is_not_given_larger_images(data: ClassFolders, session: Session) -> None:
    layers = nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8 * 36, 4)
    only = VisionModel("only", nn.Sequential(*layers), Preprocessing(resize=28, crop=28), tuple("abcd"))
    found = improve(data, only, others=[], fine_tuning=None, session=session)
    assert "larger input" not in found.to_pandas()["idea"].tolist()
    with pytest.raises(SettingError, match=r"size cannot be changed: only takes images of 28 x 28 pixels only"):
        Recipe.parse("only", size=32).named({"only": only})


def test_an_export_compared_on_images_in_any_form(data: ClassFolders, model: VisionModel, tmp_path: Path) -> None:
    paths = list(data.train.paths)
    for images in (data.root, model.read(paths)):
        found = export(model, tmp_path / "model.onnx", check=images)
        assert found.on_images is not None
        assert (found.on_images.images, found.on_images.same) == (30, 30)
        assert found.on_images.difference < 1e-4
    assert found.to_pandas()["bytes"][0] == (tmp_path / "model.onnx").stat().st_size
    assert render.load(found.save(tmp_path / "saved")).metrics["images"] == 30


@pytest.mark.parametrize(
    ("call", "error", "field"),
    [
        (lambda data: compare_features(data, []), SettingError, "features"),
        (lambda data: compare_features(data, ["@layer"]), SettingError, "features"),
        (lambda data: compare_features(data, ["no-such-model"]), DeepscopeError, ""),
        (lambda data: fit(data, tiny_model(), holdout=Holdout(0)), SettingError, "splits"),
        (lambda data: fit(data, tiny_model(), holdout=Holdout(test_fraction=1)), SettingError, "test_fraction"),
        (lambda data: fit(data, Recipe.parse("tiny", size=3)), SettingError, "size"),
        (lambda data: fit(data, tiny_model(), folder=Path("out")), DeepscopeError, ""),  # no architecture by name
        (lambda data: fit(data, tiny_model(), head="nearest-neighbours", folder=Path("out")), SettingError, "head"),
        (lambda data: fit([(np.zeros((4, 4, 3), np.uint8), "a")], tiny_model()), DataError, ""),
        (lambda data: fit(Path("nowhere"), tiny_model()), DeepscopeError, ""),
        (lambda data: fit(data, tiny_model(), head="nearest-neighbours").model, UnsupportedError, ""),
        (lambda data: FineTuning(epochs=0), SettingError, "fine_tune"),
    ],
)
def test_errors_are_typed(
    data: ClassFolders, call: Callable[[ClassFolders], object], error: type[DeepscopeError], field: str
) -> None:
    with pytest.raises(error) as caught:
        call(data)
    assert getattr(caught.value, "setting", "") == field
    assert not field or "--" not in str(caught.value)
