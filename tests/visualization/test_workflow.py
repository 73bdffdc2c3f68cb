"""Class images from Python: targets, starts and evaluators in every form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.errors import DataError, DeepscopeError, SettingError, UnsupportedError
from deepscope.models import VisionModel
from deepscope.session import Session
from deepscope.visualization import ClassImages, Layer, Recipe, preset, visualize
from networks import tiny_model

MODEL = tiny_model()
RECIPE = Recipe(iterations=3, view=32)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., ClassImages]:
    def made(targets: Any, **settings: Any) -> ClassImages:
        session = Session(cache=tmp_path / "cache", quiet=True, seed=settings.pop("seed", 0))
        return visualize(settings.pop("model", MODEL), targets, **{"recipe": RECIPE, "session": session, **settings})

    return made


@pytest.fixture
def picture() -> Image.Image:
    """Of the model's own size, so that no form of it is resized."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def other(name: str = "other") -> VisionModel:
    return replace(tiny_model(seed=1), name=name)


def test_classes_are_named_in_every_form(make: Callable[..., ClassImages]) -> None:
    found = make(["wombat", 2])
    assert found.labels == ("wombat", "hay")
    assert found.pixels.shape == (2, 3, 16, 16)
    assert float(found.pixels.min()) >= 0 and float(found.pixels.max()) <= 1
    alone = make("wombat")
    torch.testing.assert_close(alone.pixels[0], found.pixels[0], atol=2e-3, rtol=0)
    assert torch.equal(make(1).pixels, alone.pixels)
    assert not torch.allclose(make("wombat", seed=1).pixels, alone.pixels, atol=0.05)


def test_the_network_itself_evaluates_the_images_as_plain_pytorch_does(make: Callable[..., ClassImages]) -> None:
    found = make(["wombat", "hay"], evaluators=[other()])
    shown = torch.round(found.pixels * 255) / 255
    for evaluation, model in zip(found.evaluations, (MODEL, other()), strict=True):
        with torch.inference_mode():
            wanted = model(shown).softmax(1)
        for row, target in enumerate((1, 2)):
            assert evaluation.probability(row) == pytest.approx(float(wanted[row, target]), rel=1e-4)
            assert evaluation.rank(row) == 1 + int((wanted[row] > wanted[row, target]).sum())
    assert [evaluation.evaluator for evaluation in found.evaluations] == ["tiny", "other"]
    assert make("wombat").evaluators == (), "no network is loaded unless it is asked for"


def test_every_form_of_a_start_gives_the_same_image(
    make: Callable[..., ClassImages], picture: Image.Image, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    picture.save(tmp_path / "photos" / "start.png")
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    forms = (tmp_path / "photos" / "start.png", tmp_path / "photos", picture, array, tensor, [(picture, "hay")])
    recipe = replace(preset("report"), iterations=3)
    wanted = make("hay", recipe=recipe, start=forms[0])
    assert not torch.equal(wanted.pixels, make("hay", recipe=recipe).pixels)
    for form in forms[1:]:
        found = make("hay", recipe=recipe, start=form)
        assert torch.equal(found.pixels, wanted.pixels)
        assert len(found.digests) == 1
    assert wanted.paths == (tmp_path / "photos" / "start.png",)
    pair = make(["hay", "snail"], recipe=recipe, start=[picture, picture.rotate(90)])
    torch.testing.assert_close(pair.pixels[0], wanted.pixels[0], atol=2e-3, rtol=0)


def test_layers_and_channels(make: Callable[..., ClassImages]) -> None:
    whole = make(Layer("0"))
    assert whole.labels == ("0",) and whole.evaluations == ()
    channels = make(Layer("0", channel=(1, 4)), seeds=2)
    assert channels.labels == ("0 1 #1", "0 1 #2", "0 4 #1", "0 4 #2")
    watched = MODEL.activations(channels.pixels, ["0"])["0"][:, 1].mean((1, 2))
    assert float(watched[0]) > float(MODEL.activations(torch.full((1, 3, 16, 16), 0.5), ["0"])["0"][0, 1].mean())
    assert make(Layer("0", channel=1)).labels == ("0 1",)


def test_the_result_is_a_table_a_folder_and_a_page(make: Callable[..., ClassImages], tmp_path: Path) -> None:
    found = make(["wombat", "hay"], evaluators=[other()], animate=True)
    table = found.to_pandas()
    measures = ["rank/tiny", "probability/tiny", "rank/other", "probability/other", "total-variation", "saturation"]
    assert list(table.columns) == ["image", *measures]
    assert list(table["image"]) == ["wombat", "hay"]
    saved = found.save(tmp_path / "out")
    images = np.load(saved / "arrays.npz")["arrays/images"]
    assert np.array_equal(images, (found.pixels * 255).round().byte().permute(0, 2, 3, 1).numpy())
    assert any(path.suffix == ".gif" for path in saved.iterdir())
    assert "wombat" in found._repr_html_()
    assert list(make(Layer("0")).to_pandas().columns) == ["image"]
    assert found.result().config["competing_classes"] == 0.7, "every setting of the recipe, the defaults too"


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"seeds": 0}, "seeds"),
        ({"batch_size": 0}, "batch_size"),
        ({"recipe": "best"}, "preset"),
        ({"targets": []}, "targets"),
        ({"targets": Layer("0", channel=99)}, "channel"),
        ({"targets": Layer("0"), "evaluators": [MODEL]}, "evaluators"),
        ({"start": torch.rand(3, 3, 16, 16)}, "start"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_name_the_setting(make: Callable[..., ClassImages], settings: dict[str, Any], setting: str) -> None:
    with pytest.raises(SettingError) as caught:
        make(settings.pop("targets", "wombat"), **settings)
    assert caught.value.setting == setting


def test_errors_of_models_and_files(make: Callable[..., ClassImages], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no batch normalisation"):
        make("wombat", recipe=replace(RECIPE, batch_norm=1))
    stranger = replace(other("stranger"), categories=("car", "tree", "sky", "sea"))
    with pytest.raises(UnsupportedError, match="stranger cannot evaluate images of 'wombat'"):
        make("wombat", evaluators=[stranger])
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        make("wombat", start=tmp_path / "broken.png")
    with pytest.raises(DeepscopeError, match="did you mean 'wombat'"):
        make("wombatt")
