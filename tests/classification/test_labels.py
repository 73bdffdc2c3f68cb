"""Several labels per image: files of labels, average precision, and what `classify` says of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, precision_score, recall_score
from torch import nn

import deepscope as ds
from deepscope.classification import evaluate_labels
from deepscope.classification.labels import average_precision
from deepscope.cli.program import run
from deepscope.errors import DataError, DeepscopeError, FileError, SettingError
from deepscope.inputs import read_labels
from deepscope.models import VisionModel

LABELS = ("cat", "dog", "bird")
COLOURS = {"cat": 0, "dog": 1, "bird": 2}


class Colours(nn.Module):
    """The mean of each colour, far above or below 0: what an image shows is seen in its colours."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return 20 * (inputs.mean((2, 3)) - 0.5)


@pytest.fixture
def model() -> VisionModel:
    taken = ds.Preprocessing(8, 8, mean=(0.0,) * 3, std=(1.0,) * 3)
    return ds.wrap(Colours(), LABELS, preprocessing=taken, head="multilabel", name="colours")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name, shown in {"a": {"cat", "dog"}, "b": {"bird"}, "c": set[str](), "sub/a": {"dog"}}.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = [255 * (label in shown) for label in LABELS]
        Image.fromarray(np.full((8, 8, 3), levels, np.uint8)).save(path)
    return folder


def table(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder / "labels.csv"


@pytest.mark.parametrize("levels", [10**9, 4], ids=["different scores", "equal scores"])
def test_average_precision_is_scikit_learns(levels: int) -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 50):
        scores, truth = rng.integers(0, levels, count) / levels, rng.random(count) < 0.4
        truth[0] = True
        weights = rng.integers(0, 3, (5, count))
        weights[:, 0] = 1
        found = average_precision(scores, truth, weights)
        wanted = [average_precision_score(truth, scores, sample_weight=row) for row in weights]
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_mean_is_over_labels_that_some_image_shows(model: VisionModel) -> None:
    rng = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(40, 3, generator=rng), torch.rand(40, 3, generator=rng) < 0.3
    truth[:, 2] = False
    found = evaluate_labels(model, logits, truth)
    shown = truth[:, :2].numpy()
    wanted = [average_precision_score(*pair) for pair in zip(shown.T, logits[:, :2].numpy().T, strict=True)]
    assert [score.average_precision.value for score in found.scores[:2]] == pytest.approx(list(wanted))
    assert found.mean_average_precision.value == pytest.approx(np.mean(wanted))
    assert found.mean_average_precision.low < np.mean(wanted) < found.mean_average_precision.high
    predicted = (logits.sigmoid() > 0.5)[:, 0].numpy()
    assert found.scores[0].precision.value == pytest.approx(precision_score(shown[:, 0], predicted))
    assert found.scores[0].recall.value == pytest.approx(recall_score(shown[:, 0], predicted))
    assert np.isnan(found.scores[2].average_precision.value)
    assert "average-precision/bird" not in found.metrics
    with pytest.raises(DataError, match="nothing to measure"):
        evaluate_labels(model, logits, torch.zeros_like(truth))


BY_IMAGE = "file,labels\na.png,cat;dog\nb.png, bird\nc.png,\nsub/a.png,dog\n"
WITHOUT_HEADER = BY_IMAGE.partition("\n")[2]
BY_COLUMN = "image,dog,cat,bird\na.png,1,1,0\nb.png,0,0,1\nc.png,0,0,0\nsub/a.png,1,0,0\n"


@pytest.mark.parametrize("text", [BY_IMAGE, WITHOUT_HEADER, BY_COLUMN], ids=["labels", "without a header", "columns"])
def test_files_of_labels(text: str, pictures: Path, model: VisionModel) -> None:
    found = ds.classify(model, pictures, labels=table(pictures, text))
    named = {path.relative_to(pictures).as_posix(): answer for path, answer in zip(found.paths, found.answers)}
    assert named == {"a.png": {0, 1}, "b.png": {2}, "c.png": frozenset(), "sub/a.png": {1}}
    assert found.evaluation is not None
    assert found.evaluation.images == 4
    assert found.evaluation.metrics["mAP"] == found.evaluation.metrics["exact-match"] == 1


def test_images_that_the_file_does_not_list_do_not_count(pictures: Path, model: VisionModel) -> None:
    found = ds.classify(model, pictures, labels=table(pictures, "file,labels\nb.png,cat\nsub/a.png,dog\n"))
    assert found.evaluation is not None
    assert found.evaluation.images == 2
    assert found.evaluation.exact.value == 0.5


def test_columns_say_nothing_of_other_labels(pictures: Path, model: VisionModel) -> None:
    found = ds.classify(model, pictures, labels=table(pictures, "file,cat,dog\nb.png,0,0\nsub/a.png,0,1\nc.png,0,0\n"))
    assert found.evaluation is not None
    assert [score.label for score in found.evaluation.scores] == [0, 1]
    assert found.evaluation.exact.value == 1, "the bird that the model sees in b.png is not counted"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("file,labels\na.png,cat;horse\n", "line 2: 'horse' is not a label of colours"),
        ("file,cat,horse\na.png,1,1\n", "line 1: 'horse' is not a label"),
        ("file,cat,dog\na.png,1,2\n", "line 2: '2' is neither 0 nor 1"),
        ("file,cat,dog\na.png,1\n", "2 values below 3 columns"),
        ("file,cat,cat\na.png,1,1\n", "two columns"),
        ("file,labels\na.png,cat\na.png,dog\n", "line 3: 'a.png' is named a second time"),
        ("one,two,three\na.png,1,0\n", "the first line must be"),
        ("file,labels\nother.png,cat\n", "names none of the images"),
        ("file,labels\na.png,\nb.png,\n", "nothing to measure"),
    ],
)
def test_what_is_wrong_with_a_file_of_labels_is_said_in_one_line(
    text: str, said: str, pictures: Path, model: VisionModel
) -> None:
    with pytest.raises(DeepscopeError, match=said) as refused:
        ds.classify(model, pictures, labels=table(pictures, text))
    assert "\n" not in str(refused.value)


def test_labels_are_for_models_with_several(pictures: Path, model: VisionModel) -> None:
    single = ds.wrap(Colours(), LABELS, preprocessing=model.preprocessing)
    with pytest.raises(SettingError, match="several labels") as refused:
        ds.classify(single, pictures, labels=table(pictures, BY_IMAGE))
    assert refused.value.setting == "labels"
    with pytest.raises(FileError, match="cannot be read"):
        read_labels(pictures / "missing.csv", model)


def test_the_command_prints_every_label_above_its_threshold(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSCOPE_CACHE", str(tmp_path / "cache"))
    code = (
        "import deepscope as ds, torch\n"
        "class Colours(torch.nn.Module):\n"
        "    def forward(self, x): return 20 * (x.mean((2, 3)) - 0.5)\n"
        "def build():\n"
        "    taken = ds.Preprocessing(8, 8, mean=(0.0,) * 3, std=(1.0,) * 3)\n"
        "    return ds.wrap(Colours(), preprocessing=taken)\n"
    )
    (tmp_path / "own.py").write_text(code)
    labels = table(pictures, BY_IMAGE)
    given = ["--model", f"{tmp_path / 'own.py'}:build", "--classes", ",".join(LABELS), "--head", "multilabel"]
    assert run(["classify", str(pictures), *given, "--labels", str(labels), "--quiet"]) == 0
    printed = capsys.readouterr().out
    shown = printed.partition("Average precision.")[0].split()
    assert {name: shown.count(name) for name in (*LABELS, "none")} == {"cat": 1, "dog": 2, "bird": 1, "none": 1}
    assert "Mean average precision 1.000" in " ".join(printed.split())
    assert run(["classify", str(pictures), *given, "--thresholds", "cat=2"]) == 2
    assert "--thresholds must lie between 0 and 1" in capsys.readouterr().err
    assert run(["classify", str(pictures), "--model", given[1], "--classes", "cat,dog,cat"]) == 2
    assert "--classes name 'cat' twice" in capsys.readouterr().err
