"""Every registered method works on a model or refuses in one line, before the model has run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import deepscope as ds
from deepscope.attacks import Attack
from deepscope.attributions import Attribution
from deepscope.errors import DeepscopeError, ModelError, SettingError, UnsupportedError
from deepscope.features import class_layer_input
from deepscope.models import Preprocessing, VisionModel
from deepscope.models.anatomy import anatomy
from deepscope.models.capabilities import UsesModel
from deepscope.session import Session
from deepscope.transfer import export
from networks import tiny_model, tiny_transformer

SIZE = 33
"""Of the images; the windows of occlusion are 32 pixels wide."""
FAMILIES = UsesModel.__subclasses__()
METHODS = [method for family in FAMILIES for method in family.members().values()]  # type: ignore[attr-defined]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


QUICK = {
    "steps": 4,
    "queries": 40,
    "population": 4,
    "searches": 2,
    "starts": 2,
    "samples": 4,
    "masks": 8,
    "restarts": 1,
}
"""Settings that make a method quick; a method takes those that it has."""


def quick(method: type[UsesModel]) -> Any:
    fields = {field.name for field in dataclasses.fields(method)}  # type: ignore[arg-type]
    return method(**{name: value for name, value in QUICK.items() if name in fields})


def full() -> VisionModel:
    return tiny_model(size=SIZE)


def black_box(asked: list[int] | None = None) -> VisionModel:
    network, plain = full(), [] if asked is None else asked

    def query(pixels: Tensor) -> list[list[float]]:
        plain.append(len(pixels))
        return network(pixels).numpy().tolist()  # refuses pixels that require a gradient, as remote models do

    return ds.wrap(query, network.categories, preprocessing=Preprocessing(SIZE, SIZE), name="remote")


def features_only() -> VisionModel:
    return VisionModel("backbone", full().network, Preprocessing(SIZE, SIZE))


def use(method: type[UsesModel], model: VisionModel) -> Tensor:
    pixels = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    session = Session(quiet=True)
    if issubclass(method, Attribution):
        return ds.explain(model, pixels, quick(method), session=session).maps
    assert issubclass(method, Attack)
    images = pixels.expand(2, -1, -1, -1)  # a shared attack learns from half of them
    return ds.attack(model, images, quick(method), session=session).pixels


@each_method
def test_a_method_works_on_a_network(method: type[UsesModel]) -> None:
    model = tiny_transformer(size=SIZE) if getattr(method, "of_transformers", False) else full()
    assert use(method, model).isfinite().all()


@each_method
def test_a_method_works_on_a_black_box_or_refuses_in_one_line(method: type[UsesModel]) -> None:
    asked: list[int] = []
    model = black_box(asked)
    asked.clear()
    if "gradients" not in method.needs:
        torch.testing.assert_close(use(method, model), use(method, full()), rtol=1e-4, atol=1e-5)
        assert asked
        return
    with pytest.raises(UnsupportedError) as raised:
        use(method, model)
    said = str(raised.value)
    assert re.match(rf"{method.name} needs gradients.*, which remote does not give .*: use \S+ or \S+$", said)
    assert not asked, "it ran before it was refused"
    family = next(family for family in FAMILIES if issubclass(method, family))
    for name in said.rpartition(": use ")[2].split(" or "):
        assert use(family.member(name), model).isfinite().all()  # type: ignore[attr-defined]


@each_method
def test_a_method_refuses_a_model_without_classes(method: type[UsesModel]) -> None:
    with pytest.raises(ModelError, match="backbone has features only, no class layer"):
        use(method, features_only())


BLANK = torch.zeros(1, 3, SIZE, SIZE)
WORKFLOWS: dict[str, Callable[[VisionModel, Path], object]] = {
    "visualize": lambda model, _: ds.visualize(model, ["wombat"]),
    "visualize a layer": lambda model, _: ds.visualize(model, ds.visualization.Layer("0")),
    "activations": lambda model, _: ds.activations(model, torch.zeros(1, 3, SIZE, SIZE)),
    "features": lambda model, _: class_layer_input(model),
    "tcav": lambda model, _: ds.concepts.tcav(model, BLANK, {"a": BLANK}, BLANK),
    "find": lambda model, _: ds.concepts.find(model, BLANK),
    "units": lambda model, _: ds.concepts.units(model, BLANK, "0"),
    "fit": lambda model, _: ds.ImageClassifier(model).fit(torch.zeros(4, 3, SIZE, SIZE), [0, 0, 1, 1]),
    "save_model": lambda model, folder: ds.save_model(model, folder),
    "export": lambda model, folder: export(model, folder / "model.onnx"),
    "anatomy": lambda model, _: anatomy(model),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_needs_a_networks_inside_refuses_a_black_box_in_one_line(name: str, tmp_path: Path) -> None:
    asked: list[int] = []
    model = black_box(asked)
    asked.clear()
    works = "what works on it: attack with hop-skip-jump, explain with kernel-shap"
    with pytest.raises(UnsupportedError, match=rf"^[\w ]+ needs .*, which remote does not give .*; {works}$"):
        WORKFLOWS[name](model, tmp_path)
    assert not asked, "it ran before it was refused"
    assert not any(tmp_path.iterdir())


def test_a_function_with_gradients_is_no_black_box_but_has_no_layers() -> None:
    network = full()
    model = ds.wrap(lambda pixels: network(pixels), network.categories, preprocessing=Preprocessing(SIZE, SIZE))
    assert model.capabilities.gradients
    assert torch.equal(use(Attribution.member("saliency"), model), use(Attribution.member("saliency"), network))
    with pytest.raises(UnsupportedError, match=r"needs layers.*: use integrated-gradients or kernel-shap$"):
        use(Attribution.member("grad-cam"), model)
    with pytest.raises(
        UnsupportedError, match=r"what works on it: attack with pgd, explain with integrated-gradients$"
    ):
        anatomy(model)


def test_two_functions_never_share_what_is_cached() -> None:
    assert black_box().fingerprint != black_box().fingerprint


def test_capabilities_say_what_goes_in() -> None:
    grey = VisionModel("grey", torch.nn.Conv2d(1, 2, 3), Preprocessing(8, 8, mean=(0.5,), std=(0.5,)))
    assert grey.capabilities.channels == 1
    assert not grey.capabilities.probabilities
    assert full().input_size is None
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2))
    assert VisionModel("fixed", linear, Preprocessing(8, 8), ("a", "b")).input_size == (8, 8)


def test_errors_of_a_remote_function_are_its_own() -> None:
    def broken(pixels: Tensor) -> Tensor:
        raise ConnectionError("the server is away")

    with pytest.raises(ConnectionError, match="away"):
        ds.wrap(broken, ["a", "b"])
    with pytest.raises(DeepscopeError, match="returns"):
        ds.wrap(lambda pixels: None, ["a", "b"])(torch.rand(1, 3, 8, 8))  # type: ignore[arg-type]


ENTRIES: dict[str, Callable[[Any], object]] = {
    "classify": lambda model: ds.classify(model, torch.zeros(1, 3, SIZE, SIZE)),
    "explain": lambda model: ds.explain(model, torch.zeros(1, 3, SIZE, SIZE), "saliency"),
    "attack": lambda model: ds.attack(model, torch.zeros(1, 3, SIZE, SIZE), "fgsm"),
    "visualize": lambda model: ds.visualize(model, ["wombat"]),
    "activations": lambda model: ds.activations(model, torch.zeros(1, 3, SIZE, SIZE)),
    "audit": lambda model: ds.audit(model, "nowhere"),
    "save_model": lambda model: ds.save_model(model, "nowhere"),
}


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("model", [torch.nn.Identity(), "efficientnet_lite0", None], ids=["module", "name", "None"])
def test_what_is_no_model_is_refused_with_how_to_make_one(name: str, model: object) -> None:
    with pytest.raises(SettingError, match="must come from deepscope") as refused:
        ENTRIES[name](model)
    assert refused.value.setting == "model"


@pytest.mark.parametrize("setting", ["top", "limit", "batch_size"])
@pytest.mark.parametrize("value", ["3", 1.5, 0, -1])
def test_counts_are_whole_numbers(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match="at least 1") as refused:
        ds.classify(full(), torch.zeros(1, 3, SIZE, SIZE), **{setting: value})  # type: ignore[arg-type]
    assert refused.value.setting == setting
