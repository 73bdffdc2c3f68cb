"""A model that is saved opens by name with the same numbers; one that nothing could rebuild is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

import deepscope
from deepscope.errors import FileError, ModelError, SettingError, UnsupportedError
from networks import tiny_model
from painted import paint_folder

SQUEEZENET = "torchvision:squeezenet1_1"


CPU = deepscope.Session(quiet=True)


def _model() -> deepscope.VisionModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.squeezenet1_1(num_classes=3)
    preprocessing = deepscope.Preprocessing(72, 64, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    return deepscope.wrap(network, ["cat", "dög", "x/y"], preprocessing=preprocessing)


@pytest.mark.parametrize("name", ["folder", "folder/mine.safetensors"])
def test_what_is_read_back_is_the_same_model(tmp_path: Path, name: str) -> None:
    model = _model()
    file = deepscope.save_model(model, tmp_path / name, architecture=SQUEEZENET)
    for path in {file, tmp_path / name}:
        found = deepscope.load_model(path, CPU)
        assert found.categories == model.categories
        assert found.preprocessing == model.preprocessing
        pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(found(pixels), model(pixels))
        assert found.name == {"folder": "folder", file.name: file.stem}[path.name]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_nothing_rebuilds_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="name it from Python"):
        deepscope.save_model(tiny_model(), tmp_path / "a")
    with pytest.raises((ModelError, FileError, deepscope.DeepscopeError), match="resnet18"):
        deepscope.save_model(_model(), tmp_path / "b", architecture="torchvision:resnet18")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_network_whose_forward_pass_was_changed_is_refused(tmp_path: Path) -> None:
    model = _model()
    network = model.network

    class Doubled(type(network)):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x) + 1

    network.__class__ = Doubled
    with pytest.raises(ModelError, match="other logits"):
        deepscope.save_model(replace(model, network=network), tmp_path, architecture=SQUEEZENET)
    assert not list(tmp_path.iterdir())


def test_a_transferred_classifier_is_saved_and_gives_equal_logits(tmp_path: Path) -> None:
    data = paint_folder(tmp_path / "data", train=4, test=0) / "train"
    backbone = replace(_model(), architecture=SQUEEZENET)
    session = deepscope.Session(cache=tmp_path / "cache", quiet=True)
    fitted = deepscope.ImageClassifier(backbone, size=64, flip=True, session=session).fit(data).model
    folder = deepscope.save_model(fitted, tmp_path / "mine")
    found = deepscope.load_model(folder, CPU)
    assert (found.categories, found.preprocessing) == (fitted.categories, fitted.preprocessing)
    pixels = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found(pixels), fitted(pixels), rtol=0, atol=1e-6)

    again = deepscope.save_model(found, tmp_path / "again")
    files = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert files["weights.safetensors"] == (folder / "weights.safetensors").read_bytes()
    torch.testing.assert_close(deepscope.load_model(again, CPU)(pixels), fitted(pixels), rtol=0, atol=1e-6)
    with pytest.raises(SettingError, match="path must be a folder"):
        deepscope.save_model(fitted, tmp_path / "mine.safetensors")


@pytest.mark.parametrize(
    ("architecture", "error"), [("", "no architecture by name"), ("torchvision:resnet18", "cannot be rebuilt|resnet18")]
)
def test_a_classifier_that_nothing_rebuilds_leaves_nothing(tmp_path: Path, architecture: str, error: str) -> None:
    data = paint_folder(tmp_path / "data", train=4, test=0) / "train"
    backbone = replace(_model(), architecture=architecture)
    session = deepscope.Session(cache=tmp_path / "cache", quiet=True)
    fitted = deepscope.ImageClassifier(backbone, size=64, session=session).fit(data).model
    with pytest.raises(deepscope.DeepscopeError, match=error):
        deepscope.save_model(fitted, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
