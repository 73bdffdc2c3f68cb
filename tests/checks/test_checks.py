"""The checks of a person's own classifier: on painted pictures, with a tiny network and with one that was fitted."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepscope import render
from deepscope.checks import Check, class_images, held_out
from deepscope.checks.accuracy import Accuracy, _believed, _by_chance, _reduced
from deepscope.checks.class_images import ClassImages
from deepscope.checks.corruptions import Corruptions
from deepscope.checks.explanations import Explanations
from deepscope.checks.leaks import Leaks
from deepscope.checks.robustness import Robustness
from deepscope.command import perform
from deepscope.commands import classify
from deepscope.commands.transfer_fit import TransferFit
from deepscope.data.corruptions import Corruption
from deepscope.errors import DeepscopeError
from deepscope.inputs.examples import Examples
from deepscope.report import Report
from deepscope.results import Block, Heatmap, ImageGrid, Note, Result, Table
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion
from deepscope.visualization import preset
from networks import tiny_model
from painted import CLASSES, paint_folder

SEED = 140
"""Of a network that is right now and then."""


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(home=tmp_path / "home", cache=tmp_path / "cache", quiet=True)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(paint_folder(tmp_path / "pictures", train=4, test=6))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever model is named, it is a tiny one that knows the painted classes and two others."""
    model = dataclasses.replace(tiny_model(classes=5, size=32, seed=SEED), categories=(*CLASSES, "cat", "dog"))
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    monkeypatch.setattr(class_images, "preset", lambda name: dataclasses.replace(preset(name), view=32))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    """A folder of pictures without train and test, a classifier fitted to it, and what fitting said."""
    root = tmp_path_factory.mktemp("fitted")
    divided = paint_folder(root / "divided", train=8, test=1)
    pictures = divided.rename(root / "pictures") / "train"
    session = Session(home=root, cache=root / "cache", quiet=True, out=root / "model")
    result = perform(TransferFit(str(pictures)), session)
    render.save(result, root / "model")
    return pictures, root / "model", result


def _notes(result: Result, level: str) -> list[Note]:
    return [block for block in result.blocks if isinstance(block, Note) and block.level == level]


def _first(result: Result, kind: type[Block], title: str) -> Block:
    return next(block for block in result.blocks if isinstance(block, kind) and block.title == title)


@pytest.mark.usefixtures("tiny")
def test_accuracy_confusion_and_calibration_are_those_of_the_test_images(data: str, session: Session) -> None:
    result = Accuracy(data).run(session)
    probabilities, labels = result.arrays["probabilities"], result.arrays["labels"]
    assert (len(labels), probabilities.shape[1]) == (18, 5)
    answers = probabilities.argmax(1)
    assert result.metrics["accuracy/top1"] == pytest.approx((answers == labels).mean())
    confusion = _first(result, Heatmap, "Confusion")
    assert isinstance(confusion, Heatmap)
    expected = [[((labels == a) & (answers == b)).sum() / 6 for b in range(3)] for a in range(3)]
    np.testing.assert_allclose(confusion.values[:3, :3], expected)
    assert confusion.columns == (*CLASSES, "any other class")
    top, error = probabilities.max(1), 0.0
    for low in range(15):
        rows = (top > low / 15) & (top <= (low + 1) / 15)
        if rows.any():
            error += rows.mean() * abs(top[rows].mean() - (answers == labels)[rows].mean())
    assert result.metrics["expected-calibration-error"] == pytest.approx(error, abs=1e-6)
    truth = np.eye(5)[labels]
    assert result.metrics["brier"] == pytest.approx(((probabilities - truth) ** 2).sum(1).mean(), rel=1e-5)
    table = _first(result, Table, "Per class")
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == list(CLASSES)


@pytest.mark.parametrize("classes", [5, 6])
def test_no_command_reports_the_five_best_of_five_classes(
    classes: int, data: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (*CLASSES, "cat", "dog", "bird")[:classes]
    model = dataclasses.replace(tiny_model(classes=classes, size=32, seed=SEED), categories=names)
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    monkeypatch.setattr(classify, "load_model", lambda name, session: model)
    for found in (Accuracy(data).run(session), classify.Classify((Path(data) / "test",)).run(session)):
        assert ("accuracy/top5" in found.metrics) == (classes > 5)
        said = " ".join(block.text for block in found.blocks if isinstance(block, Note))
        assert "accuracy/top1" in found.metrics and ("top-5" in said) <= (classes > 5)


def test_confidence_that_few_images_cannot_confirm_is_not_believed() -> None:
    certain, exact = torch.full((6,), 0.9999), Estimate(0.0001, 0.0001, 0.0001)
    text = _believed(proportion(6, 6), certain, exact, 0.0)
    assert "rounds to 1.000, which 6 images cannot confirm" in text and "above 0.610" in text
    assert "cannot confirm" not in _believed(proportion(20_000, 20_000), certain.repeat(4000), exact, 0.0)
    few = _believed(proportion(5, 6), torch.full((6,), 0.8), Estimate(0.05, 0, 0.2), 0.2)
    assert "6 images are too few to compare" in few and "does not exceed the chance error" in few
    many = _believed(proportion(600, 1000), torch.full((1000,), 0.9), Estimate(0.3, 0.27, 0.33), 0.03)
    assert "it is higher than the accuracy" in many and "That exceeds the chance error" in many


def test_what_chance_gives_is_that_of_a_calibrated_classifier(session: Session) -> None:
    """One bin of n answers at 0.8: the error is the distance of a binomial share from 0.8."""
    count = 400
    found = _by_chance(torch.tensor([[0.8, 0.1, 0.1]]).expand(count, 3), session)
    assert found == pytest.approx(1.96 * math.sqrt(0.8 * 0.2 / count), rel=0.12)


@pytest.mark.parametrize("factor", [1.0, 1e4])
def test_robustness_where_gradients_vanish_is_not_claimed(
    factor: float, data: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = dataclasses.replace(tiny_model(classes=5, size=32, seed=SEED), categories=(*CLASSES, "cat", "dog"))
    weight, bias = plain.network.get_parameter("7.weight"), plain.network.get_parameter("7.bias")
    for parameter in (weight, bias):
        parameter.data *= factor
    found = []
    for network in (plain.network, torch.nn.Sequential(plain.network, torch.nn.Softmax(1))):
        model = dataclasses.replace(plain, network=network)
        monkeypatch.setattr(held_out, "load_model", lambda name, session, model=model: model)
        found.append(Robustness(data, levels=(1, 2), steps=3).run(session))
    logits, probabilities = found
    assert logits.metrics["gradients/vanished"] == 0
    assert "reduces accuracy from" in _notes(logits, "verdict")[0].text
    if factor > 1:
        assert probabilities.metrics["gradients/vanished"] > 0
        assert "does not show how robust" in _notes(probabilities, "verdict")[0].text
        assert any("upper bound" in note.text and "square" in note.text for note in _notes(probabilities, "warning"))
        assert probabilities.metrics["masking/signs"] >= 1 and probabilities.metrics["masking/vanishing-gradients"] > 0
        assert logits.metrics["masking/vanishing-gradients"] == 0
        assert any(note.title == "Gradients may be masked" for note in _notes(probabilities, "warning"))
    else:
        assert probabilities.metrics["gradients/vanished"] == 0


class Detached(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.network(inputs).detach()


class OutsidePyTorch(Detached):
    """Refuses inputs with a gradient, as PyTorch cannot turn them into arrays."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.network(torch.from_numpy(inputs.numpy()))


@pytest.mark.parametrize("kind", [Detached, OutsidePyTorch])
def test_robustness_without_gradients_is_measured_by_scores(
    kind: type[Detached], data: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = dataclasses.replace(tiny_model(classes=5, size=32, seed=SEED), categories=(*CLASSES, "cat", "dog"))
    model = dataclasses.replace(plain, network=kind(plain.network))
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    check = Robustness(data, levels=(2, 128), steps=10)
    result = check.run(session)
    (note,) = [block for block in result.blocks if isinstance(block, Note) and block.title == "No gradients"]
    assert "gives no gradients (its output does not depend differentiably on the pixels: " in note.text
    assert "attacked with square" in note.text and "boundary, hop-skip-jump" in note.text and "pgd" not in note.text
    assert result.metrics["gradients/vanished"] == 0
    said = " ".join(block.text for block in result.blocks if isinstance(block, Note)) + check.headline(result).finding
    assert "vanish" not in said
    assert result.metrics["accuracy/square/128"] < result.metrics["accuracy/clean"]
    assert not any(name.startswith(("masking", "accuracy/pgd")) for name in result.metrics)


def test_scores_that_never_change_are_not_called_vanished_gradients(
    data: str, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = dataclasses.replace(tiny_model(classes=5, size=32, seed=SEED), categories=(*CLASSES, "cat", "dog"))
    model = dataclasses.replace(plain, network=Detached(torch.nn.Sequential(plain.network, Decisions())))
    monkeypatch.setattr(held_out, "load_model", lambda name, session: model)
    check = Robustness(data, levels=(1,), steps=2)
    result = check.run(session)
    assert result.metrics["gradients/vanished"] > 0
    assert "scores of" in _notes(result, "verdict")[0].text and "never change" in _notes(result, "verdict")[0].text
    assert "Scores do not change" in {note.title for note in _notes(result, "warning")}
    assert "Some scores never change" in check.headline(result).finding


class Decisions(torch.nn.Module):
    """Certain of the largest logit, whatever the others are."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float() * 20 - 10


@given(st.integers(0, 2**31), st.integers(2, 9), st.integers(1, 20))
def test_leaving_out_classes_keeps_every_answer_and_its_confidence(seed: int, classes: int, images: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(images, classes, generator=rng).softmax(1)
    labels = torch.randint(classes, (images,), generator=rng)
    found, names, reduced = _reduced(probabilities, labels, tuple(map(str, range(classes))))
    assert reduced.shape[1] == len(names)
    assert reduced.amax(1).equal(probabilities.amax(1))
    assert (reduced.argmax(1) == found).equal(probabilities.argmax(1) == labels)
    assert [names[row] for row in found] == [str(label) for label in labels.tolist()]


@pytest.mark.usefixtures("tiny")
def test_wrong_predictions_are_looked_for_and_explained(data: str, session: Session) -> None:
    result = Explanations(data, methods=("saliency", "grad-cam"), limit=8, steps=3, batch_size=4).run(session)
    assert result.metrics["right"] + result.metrics["wrong"] == 8
    assert result.metrics["wrong"] == 4
    grids = {block.title: block for block in result.blocks if isinstance(block, ImageGrid)}
    wrong = grids["Where the prediction is wrong"]
    assert wrong.columns == ("image", "saliency", "grad-cam")
    for name in ("saliency", "grad-cam"):
        assert len(result.arrays[f"faithfulness/{name}"]) == 8
        assert f"faithfulness/{name}/wrong/low" in result.metrics


@pytest.mark.usefixtures("tiny")
def test_accuracy_falls_with_the_radius(data: str, session: Session) -> None:
    result = Robustness(data, levels=(1, 64), steps=3).run(session)
    clean = Accuracy(data).run(session).metrics["accuracy/top1"]
    for name in ("fgsm", "pgd"):
        curve = [result.metrics[f"accuracy/{key}"] for key in ("clean", f"{name}/1", f"{name}/64")]
        assert curve == sorted(curve, reverse=True)
        assert curve[0] == pytest.approx(clean)
    assert "reduces accuracy from" in _notes(result, "verdict")[0].text


@pytest.mark.usefixtures("tiny")
def test_ordinary_damage_is_compared_with_the_same_images(data: str, session: Session) -> None:
    (Path(data) / "test" / CLASSES[0] / "bad.png").write_bytes(b"no image")
    result = Corruptions(data, severities=(5, 1)).run(session)
    assert (result.metrics["images"], len(result.metrics) - 1) == (18, 3 * (2 + 2 * len(Corruption.members())))
    assert result.metrics["accuracy/clean"] == pytest.approx(Accuracy(data).run(session).metrics["accuracy/top1"])
    table = _first(result, Table, "Accuracy by corruption")
    assert isinstance(table, Table)
    assert {row[0]: row[1:] for row in table.rows} == {
        name: tuple(result.metrics[f"accuracy/{name}/{severity}"] for severity in (1, 5))
        for name in Corruption.members()
    }
    everything = [result.metrics[f"accuracy/{name}/{severity}"] for name in Corruption.members() for severity in (1, 5)]
    assert result.metrics["accuracy/corrupted"] == pytest.approx(np.mean(everything))
    worst = min(Corruption.members(), key=lambda name: result.metrics[f"accuracy/{name}/5"])
    assert f"the worst is {worst}" in _notes(result, "verdict")[0].text


@pytest.mark.usefixtures("tiny")
def test_class_images_stand_beside_photographs_of_the_class(data: str, session: Session) -> None:
    result = ClassImages(data, classes=2, iterations=2).run(session)
    (grid,) = (block for block in result.blocks if isinstance(block, ImageGrid))
    assert [len(row) for row in grid.rows] == [4]
    assert "class image" in grid.rows[0][0].caption
    assert "photograph" in grid.rows[0][1].caption


def test_leaks_are_found(data: str, session: Session) -> None:
    shutil.copy(Path(data) / "test" / "dots" / "0.png", Path(data) / "train" / "dots" / "leaked.png")
    result = Leaks(data).run(session)
    assert result.metrics["duplicates/exact-across-splits"] == 1
    assert "1 of them across the splits" in _notes(result, "verdict")[0].text
    headline = Leaks(data).headline(result)
    assert headline.finding.endswith(
        "none is corrupt and 1 is a copy or near-copy of another. 1 of them lies in both train and test."
    )
    assert headline.label == "image is corrupt, or in both train and test"


def test_corrupt_images_are_among_those_that_are_counted(data: str, session: Session) -> None:
    readable = round(Leaks(data).run(session).metrics["images"])
    (Path(data) / "train" / "dots" / "broken.png").write_bytes(b"")
    result = Leaks(data).run(session)
    assert (result.metrics["images"], result.metrics["corrupt"]) == (readable, 1)
    for text in (Leaks(data).headline(result).finding, _notes(result, "verdict")[0].text, result.title):
        assert f"{readable + 1} images" in text


@pytest.mark.usefixtures("tiny")
def test_classes_that_the_model_does_not_have_are_left_out_and_said(data: str, session: Session) -> None:
    for part in ("train", "test"):
        shutil.copytree(Path(data) / part / "dots", Path(data) / part / "zebra")
    result = Accuracy(data).run(session)
    assert result.metrics["images"] == 18
    (note,) = (note for note in _notes(result, "warning") if note.title == "Unknown classes")
    assert "6 images are left out: tiny has no class of the name zebra." in note.text


def test_a_model_of_other_classes_is_refused(data: str, session: Session) -> None:
    with pytest.raises(DeepscopeError, match="transfer fit"):
        Accuracy(data).run(session)


def test_a_fitted_classifier_is_evaluated_on_the_images_that_fitting_kept_aside(
    fitted: tuple[Path, Path, Result], session: Session
) -> None:
    pictures, model, said = fitted
    result = Accuracy(str(pictures), model=str(model)).run(session)
    assert result.metrics["images"] == len(said.arrays["labels"]) == 6
    for name, ours in (("accuracy", "accuracy/top1"), ("expected-calibration-error",) * 2):
        assert result.metrics[ours] == pytest.approx(said.metrics[name], abs=1e-3)
    np.testing.assert_allclose(
        np.sort(result.arrays["probabilities"], axis=0), np.sort(said.arrays["probabilities"], axis=0), atol=1e-3
    )


def test_data_that_has_changed_since_is_used_whole_with_a_warning(
    fitted: tuple[Path, Path, Result], session: Session, tmp_path: Path
) -> None:
    pictures, model, _ = fitted
    copy = shutil.copytree(pictures, tmp_path / "pictures")
    (copy / "dots" / "0.png").unlink()
    result = Accuracy(str(copy), model=str(model)).run(session)
    assert result.metrics["images"] == 23
    assert result.title == "Accuracy of model" and list(result.provenance.models) == [str(model)]
    assert any("accuracy is overestimated here" in note.text for note in _notes(result, "warning"))


def test_the_report_of_a_classifier_is_kept_until_the_classifier_changes(
    fitted: tuple[Path, Path, Result], session: Session, tmp_path: Path
) -> None:
    pictures, model, _ = fitted
    own = dataclasses.replace(session, out=tmp_path / "out")
    report = Report(model=str(model), data=str(pictures), studies=("accuracy", "leaks"))
    first = report.run(own)
    assert first.metrics["kept"] == 0
    assert first.metrics["accuracy/images"] == 6
    text = (tmp_path / "out" / "index.html").read_text()
    for words in ("At a glance", "images are classified correctly", "deepscope check accuracy"):
        assert words in text
    assert report.run(own).metrics["kept"] == 2
    (model / "weights.safetensors").touch()
    assert report.run(own).metrics["kept"] == 0


def test_every_check_of_the_quick_report_is_listed_with_its_cost(data: str, session: Session) -> None:
    listed = Report(data=data, model="efficientnet_lite0", list=True)
    with pytest.raises(DeepscopeError, match="no folder is named like a class"):
        listed.run(session)


def test_a_model_without_images_is_refused(session: Session) -> None:
    with pytest.raises(DeepscopeError, match="model needs data"):
        Report(model="efficientnet_lite0").run(session)


@pytest.mark.usefixtures("tiny")
def test_the_list_names_every_check(data: str, session: Session) -> None:
    listed = Report(data=data, list=True).run(session)
    assert listed.metrics["studies"] == len(Check.members()) == 11


@pytest.mark.usefixtures("tiny")
def test_the_current_folder_is_named_in_titles(data: str, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    assert Examples.of(".", session).name == Path(data).name
    assert Leaks(".").run(session).title.startswith(f"Audit of {Path(data).name}: ")
