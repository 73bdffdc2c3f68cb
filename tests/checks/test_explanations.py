"""The check of explanations: mistakes are shown as contrasts, and maps that show nothing are counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepscope.attributions import GradCAM, attribute
from deepscope.checks import held_out
from deepscope.checks.explanations import Explanations
from deepscope.inputs import read_photos
from deepscope.models import VisionModel
from deepscope.results import Heatmap, ImageGrid, Note
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
