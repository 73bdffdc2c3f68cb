"""The check of explanations: mistakes are shown as contrasts, and maps that show nothing are counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.attributions import Attribution, GradCAM, Occlusion, attribute
from deepscope.checks import explanations, held_out
from deepscope.checks.explanations import Explanations
from deepscope.inputs import read_photos
from deepscope.models import VisionModel
from deepscope.models.capabilities import Capabilities
from deepscope.models.heads import Head
from deepscope.results import Heatmap, ImageGrid, Note, Result, Table
from deepscope.session import Session
from networks import tiny_model
from painted import CLASSES, paint_folder


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> VisionModel:
    """A network that is right now and then."""
    model = dataclasses.replace(tiny_model(classes=5, size=32, seed=140), categories=(*CLASSES, "cat", "dog"))
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    return model


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


@pytest.mark.parametrize("contrast", [True, False])
def test_mistakes_show_why_the_prediction_and_not_the_truth(
    contrast: bool, model: VisionModel, session: Session, tmp_path: Path
) -> None:
    data = paint_folder(tmp_path / "pictures", train=2, test=3)
    check = Explanations(str(data), methods=("grad-cam",), limit=8, steps=3, contrast=contrast)
    grids = {block.title: block for block in check.run(session).blocks if isinstance(block, ImageGrid)}
    wrong = grids["Where the prediction is wrong"]
    assert ("and not the true one" in wrong.caption) == contrast
    assert "and not" not in grids["Where the prediction is right"].caption
    photos = read_photos(model, data / "test", session)
    names = [path.name for path in photos.paths]
    for row in wrong.rows:
        name, true, *_ = str(row[0].caption).split(" · ")
        (index,) = (i for i in range(len(names)) if names[i] == name and photos.true_class(i) == CLASSES.index(true))
        versus = torch.tensor([CLASSES.index(true)]) if contrast else None
        expected = attribute(
            GradCAM(), model, photos.pixels[index : index + 1], photos.predicted[index : index + 1], versus=versus
        )
        assert isinstance(row[1], Heatmap)
        np.testing.assert_allclose(row[1].values, expected[0].numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("model")
def test_maps_that_show_nothing_are_in_no_mean(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = GradCAM.__call__

    def dead(self: GradCAM, model: VisionModel, pixels: torch.Tensor, target: torch.Tensor, **named: Any) -> Any:
        maps = plain(self, model, pixels, target, **named)
        maps[0] = 0.5
        return maps

    monkeypatch.setattr(GradCAM, "__call__", dead)
    data = paint_folder(tmp_path / "pictures", train=2, test=2)
    result = Explanations(str(data), methods=("grad-cam",), limit=6, steps=3, batch_size=6).run(session)
    (note,) = (block for block in result.blocks if isinstance(block, Note) and block.title == "Left out")
    assert "1 of 6 of grad-cam" in note.text
    assert np.isnan(result.arrays["faithfulness/grad-cam"]).sum() == 1


@pytest.mark.usefixtures("model")
def test_a_method_whose_maps_are_all_flat_has_no_map_in_the_table(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = GradCAM.__call__
    monkeypatch.setattr(GradCAM, "__call__", lambda *given, **named: torch.ones_like(plain(*given, **named)))
    data = paint_folder(tmp_path / "pictures", train=2, test=2)
    result = Explanations(str(data), methods=("saliency", "grad-cam"), limit=6, steps=3).run(session)
    (table,) = (block for block in result.blocks if isinstance(block, Table))
    figures = {name: set(row) for name, _, _, *row in table.rows if name == "grad-cam"}
    assert figures == {"grad-cam": {"no map", ""}}
    assert "nan" not in str(table.rows)


def test_the_best_method_is_chosen_on_one_half_and_reported_on_the_other(
    model: VisionModel, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saliency is far ahead on every other image, by chance; and Grad-CAM is a little better than random on all."""
    first = np.arange(8) % 2 == 0
    areas = {"random": 0.0 * first, "saliency": np.where(first, 0.9, 0.2), "grad-cam": 0.3 + 0.01 * np.arange(8)}
    areas["lime"] = np.where(first, -0.1, 0.1)

    def measured(method: Attribution | None, *_: Any, **__: Any) -> dict[str, Any]:
        name = "random" if method is None else method.name
        return {"insertion": areas[name], "deletion": np.zeros(8)}

    monkeypatch.setattr(explanations, "measure", measured)
    data = paint_folder(tmp_path / "pictures", train=2, test=4)
    check = Explanations(str(data), methods=("saliency", "grad-cam", "lime"), limit=8, steps=3)
    result = check.run(session)
    assert {key for key in result.metrics if key.startswith("leading/")} == {
        f"leading/saliency{end}" for end in ("", "/low", "/high")
    }
    assert result.metrics["leading/saliency"] == pytest.approx(0.2)
    flags = {key: value for key, value in result.metrics.items() if key.startswith("better-than-random/")}
    assert flags == {f"better-than-random/{name}": name != "lime" for name in ("saliency", "grad-cam", "lime")}
    headline = check.headline(result)
    assert headline.estimate is not None and headline.estimate.value == pytest.approx(0.2)
    (verdict,) = (block for block in result.blocks if isinstance(block, Note) and block.level == "verdict")
    assert headline.finding == verdict.text
    assert "Better than random maps: grad-cam, saliency." in verdict.text
    assert "Not measurably better than random maps: lime." in verdict.text


def test_one_image_is_too_few_to_choose_a_method(model: VisionModel, session: Session, tmp_path: Path) -> None:
    data = paint_folder(tmp_path / "pictures", train=2, test=2)
    check = Explanations(str(data), methods=("saliency",), limit=1, steps=3)
    headline = check.headline(check.run(session))
    assert headline.estimate is None and "too few images" in headline.finding


def test_the_headline_names_the_methods_that_were_measured(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grad-CAM, which was asked for, does not apply to a network that only answers; others do."""
    black_box = dataclasses.replace(tiny_model(classes=3, size=32, seed=140), categories=CLASSES[:3])
    black_box = dataclasses.replace(black_box, capabilities=Capabilities(gradients=False, activations=False))
    session = dataclasses.replace(session, models={black_box.name: black_box})
    data = paint_folder(tmp_path / "pictures", train=2, test=2)
    check = Explanations(str(data), model=black_box.name, methods=("grad-cam",), limit=2, steps=3)
    fallback = {"all": [Occlusion(window=16, stride=16)]}  # instead of all that apply, some of which are slow
    monkeypatch.setattr(explanations, "as_methods", lambda asked: fallback.get(asked, [GradCAM()]))
    result = check.run(session)
    finding = check.headline(result).finding
    assert "occlusion" in finding and "grad-cam" not in finding


def test_of_several_labels_the_predicted_one_alone_is_explained(session: Session, tmp_path: Path) -> None:
    """A wrong image may show the label that is predicted, or none: neither can be contrasted."""
    rng = np.random.default_rng(0)
    for row in range(4):
        levels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(levels).save(tmp_path / "images" / f"{row}.png")
    model = dataclasses.replace(tiny_model(classes=3, size=32, seed=1), head=Head("multilabel"))
    session = dataclasses.replace(session, models={model.name: model})
    photos = read_photos(model, tmp_path / "images", session)
    shown = [{int(label)} for label in photos.predicted]
    shown[0] = set()
    lines = [
        f"{path.name},{';'.join(model.categories[one] for one in labels)}" for path, labels in zip(photos.paths, shown)
    ]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["file,labels", *lines]), encoding="utf-8")
    head = Head("multilabel", tuple(float(p) for p in photos.probabilities.amin(0) * 0.99))
    every = dataclasses.replace(model, head=head)  # predicts all labels, which is wrong everywhere
    session = dataclasses.replace(session, models={model.name: every})
    check = Explanations(
        str(tmp_path / "images"), model=model.name, labels=str(labels), methods=("saliency",), limit=4, steps=3
    )
    (grid,) = (block for block in check.run(session).blocks if isinstance(block, ImageGrid))
    assert grid.title == "Where the prediction is wrong" and grid.caption == "Maps of the predicted class."
    for row in grid.rows:
        assert isinstance(row[1], Heatmap) and row[1].values.max() > 0


def test_a_kept_result_is_told_like_a_fresh_one() -> None:
    metrics = {"better-than-random/saliency": 1.0, "better-than-random/grad-cam": 1.0, "better-than-random/lime": 0.0}
    found = [Result("", metrics=metrics), Result("", metrics=dict(sorted(metrics.items())))]
    fresh, kept = (Explanations("photos").headline(one) for one in found)
    assert fresh == kept and "Better than random maps: grad-cam, saliency." in fresh.finding
