"""Checks of models with several labels per image, with one logit, and with classes in the wrong order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from torch import nn

import deepscope as ds
from deepscope.checks.accuracy import Accuracy
from deepscope.checks.corruptions import Corruptions
from deepscope.checks.held_out import held_out
from deepscope.checks.leaks import Leaks
from deepscope.checks.robustness import Robustness
from deepscope.errors import DataError, SettingError
from deepscope.models import VisionModel
from deepscope.report import Report
from deepscope.results import Note, Result
from deepscope.session import Session

COLOURS = ("red", "green", "blue")
TAKEN = ds.Preprocessing(16, 16, mean=(0.0,) * 3, std=(1.0,) * 3)


class Brightness(nn.Module):
    """A score per colour: how bright it is, through a convolution that maps can be made of."""

    def __init__(self, outputs: int = 3, steep: float = 12.0) -> None:
        super().__init__()
        self.look, self.outputs, self.steep = nn.Conv2d(3, 3, 1, bias=False), outputs, steep
        with torch.no_grad():
            self.look.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (self.steep * (self.look(inputs).mean((2, 3)) - 0.5))[:, : self.outputs]


def session_of(tmp_path: Path, model: VisionModel) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True, models={model.name: model})


def paint(path: Path, colour: tuple[float, ...], rng: np.random.Generator) -> None:
    levels = np.clip(255 * np.array(colour) + rng.normal(0, 20, (40, 40, 3)), 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels.astype(np.uint8)).save(path)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Thirty images with up to three labels; some labels are nearly invisible."""
    rng, folder, lines = np.random.default_rng(0), tmp_path / "listed", ["file,labels"]
    for row in range(30):
        shown = rng.random(3) < (0.6, 0.4, 0.3)
        paint(folder / f"{row:02d}.png", tuple(np.where(shown, 0.56, 0.44) + rng.normal(0, 0.07, 3)), rng)
        lines.append(f"{row:02d}.png," + ";".join(name for name, there in zip(COLOURS, shown) if there))
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def several() -> VisionModel:
    return ds.wrap(Brightness(), COLOURS, preprocessing=TAKEN, head="multilabel", name="colours")


def _warned(result: Result) -> str:
    notes = (block for block in result.blocks if isinstance(block, Note) and block.level == "warning")
    return " ".join(f"{note.title}: {note.text}" for note in notes)


def test_mean_average_precision_is_scikit_learns(listed: Path, several: VisionModel, tmp_path: Path) -> None:
    result = Accuracy(str(listed), model="colours").run(session_of(tmp_path, several))
    probabilities, truth = result.arrays["probabilities"], result.arrays["labels"]
    lines = (listed / "labels.csv").read_text().splitlines()[1:]
    wanted = np.array([[name in line.partition(",")[2].split(";") for name in COLOURS] for line in lines])
    np.testing.assert_array_equal(truth, wanted)
    each = np.array([average_precision_score(*pair) for pair in zip(wanted.T, probabilities.T, strict=True)])
    assert [result.metrics[f"average-precision/{name}"] for name in COLOURS] == pytest.approx(list(each))
    assert result.metrics["mAP"] == pytest.approx(each.mean())
    assert result.metrics["mAP/low"] < each.mean() < result.metrics["mAP/high"]
    exact = ((probabilities > 0.5) == wanted).all(1).mean()
    assert 0 < exact < 1
    assert result.metrics["exact-match"] == pytest.approx(exact)
    headline = Accuracy(str(listed), model="colours").headline(result)
    assert "mean average precision" in headline.finding


def test_an_image_is_right_where_exactly_its_labels_are_predicted(
    listed: Path, several: VisionModel, tmp_path: Path
) -> None:
    session = session_of(tmp_path, several)
    exact = Accuracy(str(listed), model="colours").run(session).metrics["exact-match"]
    result = Corruptions(str(listed), model="colours", severities=(1,)).run(session)
    assert result.metrics["accuracy/clean"] == pytest.approx(exact, abs=2 / 30)  # resized once more before it is seen


def test_robustness_is_that_of_the_most_frequent_label(listed: Path, several: VisionModel, tmp_path: Path) -> None:
    check = Robustness(str(listed), model="colours", levels=(2, 32), steps=40)
    result = check.run(session_of(tmp_path, several))
    (note,) = (block for block in result.blocks if isinstance(block, Note) and block.title == "One label")
    text = (listed / "labels.csv").read_text()
    assert repr(max(COLOURS, key=text.count)) in note.text
    headline = check.headline(result)
    assert headline.finding.startswith(note.text) and headline.label.endswith("of one label")
    label = COLOURS.index(max(COLOURS, key=text.count))
    means = np.array([float(TAKEN(listed / f"{row:02d}.png")[label].mean()) for row in range(30)])
    shown = np.array([COLOURS[label] in line.partition(",")[2] for line in text.splitlines()[1:]])
    right = (means > 0.5) == shown
    for levels in (2, 32):  # the score is linear: an attack moves the mean by as much as it may move each pixel
        wanted = (right & (np.abs(means - 0.5) > levels / 255)).mean()
        assert result.metrics[f"accuracy/fgsm/{levels}"] == pytest.approx(wanted, abs=1e-9)
        assert result.metrics[f"accuracy/pgd/{levels}"] == pytest.approx(wanted, abs=1 / 30)


def test_a_report_of_several_labels_says_what_does_not_apply(
    listed: Path, several: VisionModel, tmp_path: Path
) -> None:
    found = ds.audit(several, listed, session=session_of(tmp_path, several), checks=["accuracy", "slices", "leaks"])
    by_name = {outcome.section.name: outcome for outcome in found.outcomes}
    assert not any(outcome.failure for outcome in found.outcomes)
    assert "several labels per image" in by_name["slices"].missing
    assert by_name["leaks"].result.metrics["images"] == 30
    assert "accuracy/mAP" in found.metrics
    assert "Average precision" in found.page()


def test_images_of_several_labels_are_explored_by_their_labels(
    listed: Path, several: VisionModel, tmp_path: Path
) -> None:
    found = ds.audit(several, listed, session=session_of(tmp_path, several), checks=["accuracy"])
    entries = {entry.name: entry for entry in found.explore().gallery.entries}
    assert len(entries) == 30
    for line in (listed / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]:
        name, _, shown = line.partition(",")
        means = TAKEN(listed / name).mean((1, 2))
        predicted = [colour for colour, mean in zip(COLOURS, means.tolist()) if mean > 0.5]
        entry = entries[name]
        assert entry.truth == (shown.replace(";", ", ") or "none")
        assert entry.predicted == (", ".join(predicted) or "none")
        assert entry.right == (entry.truth == entry.predicted)
        assert not entry.values, "neither a confidence nor a loss of one class"


def test_labels_are_asked_for_and_only_where_they_are_needed(
    listed: Path, several: VisionModel, tmp_path: Path
) -> None:
    session = session_of(tmp_path, several)
    other = listed.rename(tmp_path / "other")
    file = (other / "labels.csv").rename(tmp_path / "elsewhere.csv")
    with pytest.raises(SettingError, match=r"must name a CSV file: colours has several labels") as refused:
        held_out("colours", str(other), session)
    assert refused.value.setting == "labels"
    assert len(held_out("colours", str(other), session, str(file)).answers) == 30
    for missing in (tmp_path / "nowhere", other / "00.png"):
        with pytest.raises(DataError, match="give a folder of images"):
            held_out("colours", str(missing), session)
    single = dataclasses.replace(several, head=ds.wrap(Brightness(), COLOURS, preprocessing=TAKEN).head)
    with pytest.raises(SettingError, match="several labels per image") as refused:
        held_out("colours", str(other), session_of(tmp_path, single), str(file))
    with pytest.raises(SettingError, match="labels needs data"):
        Report(labels=str(file)).run(session)
    check = Accuracy(str(other), model="colours")
    assert file in dataclasses.replace(check, labels=str(file)).inputs(tmp_path), (
        "it is computed again when they change"
    )


@pytest.fixture
def coloured(tmp_path: Path) -> str:
    """A folder per colour, of ten images each."""
    rng = np.random.default_rng(0)
    for place, name in enumerate(COLOURS):
        for row in range(10):
            paint(tmp_path / "pictures" / name / f"{row}.png", tuple(0.7 if c == place else 0.3 for c in range(3)), rng)
    return str(tmp_path / "pictures")


def test_classes_in_the_wrong_order_are_found(coloured: str, tmp_path: Path) -> None:
    model = ds.wrap(Brightness(), ("green", "blue", "red"), preprocessing=TAKEN, name="mixed")
    check = Accuracy(coloured, model="mixed")
    result = check.run(session_of(tmp_path, model))
    warned = _warned(result)
    assert "Likely label-order mistake" in warned
    for true, predicted in (("red", "green"), ("green", "blue"), ("blue", "red")):
        assert f"10 of 10 images of '{true}' are predicted as '{predicted}'" in warned
    assert result.metrics["accuracy/top1"] == 0
    assert result.metrics["accuracy/reordered"] == 1
    assert "label-order" in check.headline(result).finding


def test_a_right_order_is_not_warned_of(coloured: str, tmp_path: Path) -> None:
    model = ds.wrap(Brightness(), COLOURS, preprocessing=TAKEN, name="right")
    result = Accuracy(coloured, model="right").run(session_of(tmp_path, model))
    assert "order" not in _warned(result)
    assert not any(name.startswith("accuracy/reordered") for name in result.metrics)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("one", "two", "three"),
            "both have 3, so give the folders' names as its classes",
        ),
        (("one", "two"), "there are 3 folders for 2 classes"),
    ],
)
def test_classes_that_no_folder_is_named_like(names: tuple[str, ...], said: str, coloured: str, tmp_path: Path) -> None:
    network = Brightness(1 if len(names) == 2 else 3)
    model = ds.wrap(network, names, preprocessing=TAKEN, name="numbers")
    with pytest.raises(DataError, match=said):
        held_out("numbers", coloured, session_of(tmp_path, model))


def test_one_logit_is_checked_as_two_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, red in (("negative", 0.4), ("positive", 0.6)):
        for row in range(6):
            paint(tmp_path / "pictures" / name / f"{row}.png", (red, 0.5, 0.5), rng)
    model = ds.wrap(Brightness(1), preprocessing=TAKEN, name="single")
    session, data = session_of(tmp_path, model), str(tmp_path / "pictures")
    assert Accuracy(data, model="single").run(session).metrics["accuracy/top1"] == 1
    attacked = Robustness(data, model="single", levels=(64,), steps=5).run(session).metrics
    assert (attacked["accuracy/clean"], attacked["accuracy/pgd/64"]) == (1, 0)
    assert Leaks(data, model="single").run(session).metrics["images"] == 12


class Half(nn.Module):
    """One logit, of probability 0.4 for bright images and 0.1 for dark ones."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        bright = pixels.mean((1, 2, 3), keepdim=True).flatten(1) > 0.5
        return torch.where(bright, np.log(0.4 / 0.6), np.log(0.1 / 0.9)).to(pixels)


def test_accuracy_is_that_of_the_threshold(tmp_path: Path) -> None:
    for name, level in (("dark", 20), ("bright", 230)):
        (tmp_path / name).mkdir()
        for row in range(6):
            Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / name / f"{row}.png")
    found = {}
    for threshold in (0.5, 0.3):
        model = ds.wrap(
            Half(),
            ["dark", "bright"],
            preprocessing=ds.Preprocessing(resize=8, crop=8, mean=(0, 0, 0), std=(1, 1, 1)),
            head="binary",
            thresholds=threshold,
            name="half",
        )
        session = Session(cache=tmp_path / "cache", quiet=True, models={"half": model})
        found[threshold] = Accuracy(str(tmp_path), model="half").run(session).metrics["accuracy/top1"]
    assert found == {0.5: 0.5, 0.3: 1.0}
