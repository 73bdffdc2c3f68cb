"""The explain commands end to end, on a small network saved nowhere and photographs that come with the installation."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepscope.attributions import GradCAM, IntegratedGradients, Saliency, Sanity, SmoothGrad, as_methods, measuring
from deepscope.attributions.boxes import Boxes
from deepscope.attributions.faithfulness import Insertion, MaxSensitivity
from deepscope.commands import explain, explain_compare, explain_evaluate
from deepscope.errors import DeepscopeError, FileError
from deepscope.inputs import Photos, read_photos
from deepscope.inputs.given import Item
from deepscope.kept import kept
from deepscope.models import VisionModel
from deepscope.presenters.explained import heat
from deepscope.results import Curves, Heatmap, ImageGrid, Result, Table
from deepscope.session import Session
from networks import tiny_model

CACHE = tempfile.TemporaryDirectory()
SESSION = Session(quiet=True, cache=Path(CACHE.name))


@pytest.fixture
def model() -> VisionModel:
    return tiny_model(size=48)


@pytest.fixture
def photos(tmp_path: Path, model: VisionModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images in folders named by their class, one of them not square; every command opens the small network."""
    for command in (explain, explain_compare, explain_evaluate):
        monkeypatch.setattr(command, "load_model", lambda name, session: model)
    rng = np.random.default_rng(0)
    for label, size in (("wombat", (60, 48)), ("snail", (48, 48))):
        (tmp_path / label).mkdir()
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / label / f"{label}.png")
    return tmp_path


def black(model: VisionModel, path: Path) -> Photos:
    """One image of nothing, read from that file."""
    return Photos(model, (path,), torch.zeros(1, 3, 48, 48), torch.zeros(1, 4), (frozenset(),), (b"",), (0,))


def grid(result: Result) -> ImageGrid:
    return next(block for block in result.blocks if isinstance(block, ImageGrid))


def test_explain_shows_the_true_and_the_predicted_class(photos: Path, model: VisionModel) -> None:
    result = explain.Explain(Saliency(), (photos,)).run(SESSION)
    figure, seen = grid(result), read_photos(model, [photos], SESSION, batch_size=4)
    assert figure.columns == ("image", "true class", "predicted class", "overlay, predicted")
    assert all(len(row) == 4 for row in figure.rows)
    for index, row in enumerate(figure.rows):
        true, predicted = seen.true_class(index), int(seen.predicted[index])
        for label, cell in ((true, row[1]), (predicted, row[2])):
            expected = Saliency()(model, seen.pixels[index, None], torch.tensor([label]), rng=torch.Generator())
            assert isinstance(cell, Heatmap)
            np.testing.assert_allclose(cell.values, expected[0].numpy(), rtol=1e-4, atol=1e-7)
    maps, rows, classes = (result.arrays[name] for name in ("maps", "image", "class"))
    assert len(maps) == len(rows) == len(classes) == result.metrics["maps"]
    assert maps.shape[1:] == (48, 48)


def test_explain_the_top_classes_or_a_named_one(photos: Path, model: VisionModel) -> None:
    top = explain.Explain(GradCAM(), (photos,), top=3, batch_size=1).run(SESSION)
    seen = read_photos(model, [photos], SESSION, batch_size=4)
    assert top.arrays["class"].tolist() == seen.probabilities.topk(3).indices.flatten().tolist()
    assert [len(row) for row in grid(top).rows] == [7, 7]
    named = explain.Explain(GradCAM(), (photos,), target="bee_eater").run(SESSION)
    assert named.arrays["class"].tolist() == [0, 0]


def test_maps_do_not_depend_on_the_batch_size(photos: Path) -> None:
    whole, single = (
        explain.Explain(IntegratedGradients(), (photos,), batch_size=size).run(SESSION).arrays["maps"]
        for size in (8, 1)
    )
    np.testing.assert_allclose(single, whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (explain.Explain(Saliency(), target="wombat", top=2), "cannot be combined with top"),
        (explain.Explain(Saliency(), top=9), "between 1 and 4"),
        (explain.Explain(Saliency(), target="wombta"), "did you mean 'wombat'"),
        (explain_compare.ExplainCompare(methods=("salience",)), "saliency"),
        (explain_evaluate.ExplainEvaluate(Path(), measures=("delete",)), "deletion"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_what_cannot_be_done_is_said(
    command: explain.Explain | explain_compare.ExplainCompare | explain_evaluate.ExplainEvaluate, said: str
) -> None:
    with pytest.raises(DeepscopeError, match=said):
        command.run(SESSION)


def test_a_limit_draws_some_of_the_images(photos: Path) -> None:
    result = explain.Explain(Saliency(), (photos,), limit=1).run(SESSION)
    assert result.metrics["images"] == 1
    assert explain.Explain(Saliency(), (photos,), limit=9).run(SESSION).metrics["images"] == 2


def test_the_figure_names_files_and_columns(photos: Path) -> None:
    figure = grid(explain.Explain(GradCAM(), (photos,), top=2).run(SESSION))
    assert figure.columns == ("image", *("map", "map over the image") * 2)
    assert [str(row[0].caption).split(" · ")[0] for row in figure.rows] == ["snail.png", "wombat.png"]


def test_compare_puts_methods_beside_each_other(photos: Path) -> None:
    result = explain_compare.ExplainCompare((photos,), methods=("saliency,grad-cam", "saliency")).run(SESSION)
    assert grid(result).columns == ("image", "saliency", "grad-cam")
    agreement = next(block for block in result.blocks if isinstance(block, Heatmap))
    np.testing.assert_allclose(np.diag(agreement.values), 1)
    assert result.metrics["agreement/saliency/grad-cam"] == agreement.values[0, 1]
    assert {"saliency", "grad-cam", "class"} == set(result.arrays)


def test_compare_of_many_methods_takes_several_rows(photos: Path) -> None:
    methods = ("saliency", "grad-cam", "layer-cam", "deep-lift", "gradient-times-input", "guided-backpropagation")
    figure = grid(explain_compare.ExplainCompare((photos,), methods=methods).run(SESSION))
    assert figure.columns == ()
    assert [len(row) for row in figure.rows] == [5, 2, 5, 2]
    assert [cell.caption for row in figure.rows[:2] for cell in row][1:] == list(methods)  # type: ignore[union-attr]


def test_compare_leaves_costly_methods_and_those_of_transformers_out_unless_asked() -> None:
    usual, every = (as_methods(names) for names in ((), ("all",)))
    left_out = {method.name for method in every} - {method.name for method in usual}
    of_transformers = {"attention-rollout", "attn-lrp", "generic-attention", "legrad"}
    assert left_out == {*of_transformers, "kernel-shap", "lime", "occlusion", "rise", "score-cam", "xrai"}


def test_evaluate_measures_methods_and_random_maps(photos: Path, tmp_path: Path) -> None:
    with (tmp_path / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "left", "top", "right", "bottom"], ["snail.png", 0, 0, 24, 48]])
    command = explain_evaluate.ExplainEvaluate(
        photos, methods=("saliency", "grad-cam"), boxes=tmp_path / "boxes.csv", against="other", sanity=2
    )
    result = command.run(SESSION)
    for name in (
        "insertion",
        "deletion",
        "average-drop",
        "increase",
        "max-sensitivity",
        "energy-pointing",
        "relevance-rank",
    ):
        for method in ("saliency", "grad-cam", "random"):
            low, value, high = (result.metrics[f"{name}/{method}{end}"] for end in ("/low", "", "/high"))
            assert low <= value <= high
    assert abs(result.metrics["energy-pointing/random"] - 0.5) < 0.1
    assert result.metrics["difference/insertion/saliency"] == 0  # the other network is the same one here
    assert {"survival/grad-cam", "sanity/saliency"} <= set(result.metrics)
    assert sum(isinstance(block, Table) for block in result.blocks) == 9  # one image has no box
    assert any(isinstance(block, Curves) for block in result.blocks)


@pytest.mark.parametrize(
    ("upper", "unrelated", "said"),
    [
        ([0.9, 0.8, 0.95], [0.1, 0.2, 0.0], "fails"),
        ([0.1, 0.2, 0.3], [0.0, 0.1, 0.2], "passes"),
        ([0.6, 0.65, 0.62], [0.1, 0.2, 0.0], "fails"),
        ([0.6, 0.65, 0.62], [0.4, 0.5, 0.45], "passes"),  # an unrelated network's map is as near
        ([0.1, 0.9, 0.2, 0.8], [0.0] * 4, "undecided"),
    ],
)
def test_a_verdict_asks_what_the_maps_are_nearer_to(upper: list[float], unrelated: list[float], said: str) -> None:
    survived = np.array([upper, upper, np.zeros(len(upper)), unrelated])
    assert Sanity.of(survived, (0.25, 0.5, 0.75, 1.0)).verdict == said


def test_figures_do_not_depend_on_the_batch_size_and_are_kept(
    photos: Path, model: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = read_photos(model, [photos], SESSION, batch_size=4)
    found: dict[int, dict[str, np.ndarray]] = {}
    for size in (1, 2):
        session = Session(quiet=True, cache=tmp_path / str(size))
        for method in (SmoothGrad(samples=2), None):
            of_method = measuring.measure(
                method, seen, [Insertion(steps=5), MaxSensitivity(samples=2)], session, batch_size=size
            )
            found.setdefault(size, {}).update({f"{method}/{name}": values for name, values in of_method.items()})
    for name, values in found[1].items():
        np.testing.assert_allclose(values, found[2][name], rtol=1e-4)
    monkeypatch.setattr(measuring, "measured", None)  # not computed again
    again = measuring.measure(None, seen, [Insertion(steps=5), MaxSensitivity(samples=2)], session, batch_size=2)
    np.testing.assert_array_equal(again["insertion"], found[2]["None/insertion"])


def test_a_file_of_the_cache_that_is_not_whole_is_made_again(tmp_path: Path) -> None:
    session = Session(quiet=True, cache=tmp_path)
    for content in (b"", b"PK"):
        assert kept(session, {"a": 1}, lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
        (file,) = (tmp_path / "figures").iterdir()
        file.write_bytes(content)
    assert kept(session, {"a": 1}, lambda: {"x": np.arange(4)})["x"].tolist() == [0, 1, 2, 3]
    assert kept(session, {"a": 1}, dict)["x"].tolist() == [0, 1, 2, 3]


def test_boxes_follow_the_image_through_resizing_and_cropping(tmp_path: Path, model: VisionModel) -> None:
    Image.new("RGB", (96, 192)).save(tmp_path / "tall.png")  # seen as 48 x 96, its middle 48 x 48 cut out
    (tmp_path / "boxes.csv").write_text("file,left,top,right,bottom\ntall.png,0,0,96,96\n")
    inside = Boxes.read(tmp_path / "boxes.csv").inside(
        black(model, tmp_path / "tall.png"), [Item(tmp_path / "tall.png", tmp_path / "tall.png")]
    )
    assert float(inside[0, :22].min()) > 0.99
    assert float(inside[0, 26:].max()) < 0.01


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no box of any"),
        ("file,left,top,right,bottom\nb.png,0,0,1,1\n", "no box of any"),
        ("file,left\na.png,3\n", "file,left,top,right,bottom"),
        ("file,left,top,right,bottom\na.png,x,0,1,1\n", "file,left,top,right,bottom"),
        ("file,left,top,right,bottom\na.png,nan,0,1,1\n", "not finite"),
    ],
)
def test_boxes_that_are_none_are_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(FileError, match=said) as caught:
        Boxes.read(tmp_path / "boxes.csv").require([tmp_path / "a.png"])
    assert caught.value.path == tmp_path / "boxes.csv"


def test_a_map_of_nothing_can_be_drawn() -> None:
    drawn = heat(Saliency(), torch.zeros(8, 8))
    assert (drawn.low, drawn.high) == (0, 1)
