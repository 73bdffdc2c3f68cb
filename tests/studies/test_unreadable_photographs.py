"""One photograph that cannot be read ends no study: it is left out of every row, counted and listed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepscope.adaptation import loading
from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel
from deepscope.results import ImageGrid, Note, Picture, Result, Table
from deepscope.session import Session
from deepscope.studies import class_images_compared, class_visualization, saliency
from deepscope.studies.activation_maps import ActivationMaps
from deepscope.studies.adaptation_of_photographs import AdaptationOfPhotographs
from deepscope.studies.adversarial import Adversarial
from deepscope.studies.class_visualization import ClassVisualization
from deepscope.studies.predictions import Predictions
from deepscope.studies.saliency import Saliency
from deepscope.studies.study import ANSWERS
from deepscope.visualization import Recipe, preset
from networks import tiny_model
from painted import paint_folder

WNIDS = tuple(f"n{index:08d}" for index in range(8))
NAMES = ("tabby", "Shih-Tzu", "komondor", "swab", "wombat", "Cardigan", "hay", "text")
BROKEN = [f"{WNIDS[0]}_tabby.png", f"{WNIDS[7]}_text.png"]


@pytest.fixture
def model() -> VisionModel:
    return dataclasses.replace(tiny_model(classes=8), name="one", wnids=WNIDS)


@pytest.fixture
def session(tmp_path: Path, model: VisionModel) -> Session:
    """A photograph of each of eight classes; that of the first one is cut short, and the last one is text."""
    folder, rng = tmp_path / "data" / "imagenet-sample", np.random.default_rng(0)
    folder.mkdir(parents=True)
    for wnid, name in zip(WNIDS, NAMES, strict=True):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((20, 20)).save(folder / f"{wnid}_{name}.png")
    cut, text = (folder / name for name in BROKEN)
    cut.write_bytes(cut.read_bytes()[:-30])
    text.write_text("no image")
    return Session(home=tmp_path, cache=tmp_path / "cache", quiet=True, models={"one": model})


def table(result: Result, title: str) -> Table:
    (found,) = (block for block in result.blocks if isinstance(block, Table) and block.title == title)
    return found


def listed(result: Result) -> list[str]:
    """The names of the files that the result lists as skipped; it also says how many they are."""
    rows = table(result, "Skipped").rows
    (note,) = (block for block in result.blocks if isinstance(block, Note) and block.title == "Skipped")
    assert note.text.startswith(f"{len(rows)} input")
    return [Path(str(row[0])).name for row in rows]


def test_predictions(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepscope.studies.predictions.installed", lambda session: {"one"})
    result = Predictions(models=("one",)).run(session)
    assert result.metrics["images/one"] == 6 and listed(result) == BROKEN
    (grid,) = (block for block in result.blocks if isinstance(block, ImageGrid))
    assert next(row[0].caption for row in grid.rows if isinstance(row[0], Picture)) == f"{WNIDS[1]}_Shih-Tzu.png"
    for path in (session.home / "data" / "imagenet-sample").glob("*"):
        if "hay" not in path.name:
            path.write_text("no image")
    alone = Predictions(models=("one",)).run(session)  # none of the chosen ones is left
    assert alone.metrics["images/one"] == 1 and len(listed(alone)) == 7


def test_activation_maps(session: Session) -> None:
    result = ActivationMaps(model="one").run(session)
    assert listed(result) == BROKEN[:1]  # the other one belongs to no figure
    titles = [block.title for block in result.blocks if isinstance(block, ImageGrid)]
    assert [title.partition(":")[0] for title in titles] == [f"Figure 5.{number}" for number in range(1, 6)]
    assert "over 5 images" in str(table(result, ANSWERS).rows[0])
    folder = session.home / "data" / "imagenet-sample"
    named = ActivationMaps((folder, folder / "nowhere.png"), model="one").run(session)
    assert sorted(listed(named)) == [*BROKEN, "nowhere.png"]
    assert "over 6 images" in str(table(named, ANSWERS).rows[0])
    with pytest.raises(DeepscopeError, match="no image could be read"):
        ActivationMaps((folder / BROKEN[0],), model="one").run(session)


def test_saliency(session: Session, model: VisionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that know other classes are compared on the images that both know."""
    known = {"one": model, "half": dataclasses.replace(model, name="half", wnids=("", "", *WNIDS[2:]))}
    monkeypatch.setattr(saliency, "load_model", lambda name, session: known[name])
    result = Saliency(models=("one", "half"), steps=2).run(session)
    assert listed(result) == BROKEN
    assert (result.metrics["images/one"], result.metrics["images/half"]) == (6, 5)
    assert result.metrics["networks/roughness/half"] == pytest.approx(0, abs=1e-9)  # it is the same network
    assert table(result, "The better network, half, against one").rows[0][-1] == "not decided"  # on five images


def test_adversarial(session: Session) -> None:
    folder = session.home / "data" / "imagenet-sample"
    for path in folder.glob("*"):
        path.rename(folder / path.name.partition("_")[2])  # so that every prediction counts as right
    result = Adversarial(model="one", steps=2, queries=4).run(session)
    assert result.metrics["images"] == 6 and listed(result) == ["tabby.png", "text.png"]


@pytest.mark.parametrize("reports", [False, True])
def test_class_visualization(
    reports: bool, session: Session, model: VisionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class drawn at random makes room for another one; without a photograph of the report's own it says so."""

    def short(name: str) -> Recipe:
        return dataclasses.replace(preset(name), iterations=2, view=32 if preset(name).view else 0)

    last = dataclasses.replace(model, wnids=(*WNIDS[1:7], WNIDS[0], WNIDS[7]))  # the report's classes are the first 4
    monkeypatch.setattr(class_images_compared, "preset", short)
    monkeypatch.setattr(class_visualization, "load_model", lambda name, session: model if reports else last)
    study = ClassVisualization(classes=6, iterations=(1, 2), rates=(0.5,), thorough=False)
    result = study.run(session)
    assert listed(result) == BROKEN
    asked = [str(row[4]) for row in table(result, ANSWERS).rows if str(row[0]).startswith("10.")]
    assert ["cannot be read" in because for because in asked] == ([True] if reports else [False, False])


def test_adaptation_of_photographs(tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_model", lambda name, session: tiny_model(classes=5, size=32))
    root = paint_folder(tmp_path / "pictures", train=6, test=4)
    first, second = (root / "test" / "dots" / f"{number}.png" for number in range(2))
    first.write_bytes(first.read_bytes()[:40])
    result = AdaptationOfPhotographs(seeds=1, epochs=1, data=str(root), corruptions=("contrast",)).run(session)
    assert listed(result) == ["0.png"]
    assert result.provenance.data.startswith("18 training and 11 test images")
    (grid,) = (block for block in result.blocks if isinstance(block, ImageGrid))
    source, target = grid.rows[0]
    assert isinstance(source, Picture) and isinstance(target, Picture)
    assert (source.pixels == np.asarray(Image.open(second))).all()
    assert source.pixels.mean((0, 1)) == pytest.approx(target.pixels.mean((0, 1)), abs=1)  # contrast keeps the mean
