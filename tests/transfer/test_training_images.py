"""Scores as sums over training images: against scikit-learn's refits and the model's own logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression as ScikitLogisticRegression
from sklearn.linear_model import Ridge as ScikitRidge
from sklearn.svm import LinearSVC as ScikitLinearSVC
from torch import Tensor
from torch.nn import functional

from deepscope.commands.explain_training import ExplainTraining
from deepscope.data import ClassFolders
from deepscope.errors import DataError, SettingError
from deepscope.models import VisionModel, load_model
from deepscope.results import Note
from deepscope.session import Session
from deepscope.transfer import ImageClassifier, fit, training_images
from deepscope.transfer.heads import Head
from deepscope.transfer.representers import Representers
from painted import paint_folder

HEADS = ("linear-svc", "logistic-regression", "ridge")


def clouds(seed: int, images: int, classes: int, width: int, apart: float = 1.2) -> tuple[Tensor, Tensor]:
    """Overlapping Gaussian clouds of norm 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    features = rng.normal(size=(images, width)) + apart * rng.normal(size=(classes, width))[labels]
    return functional.normalize(torch.from_numpy(features)), torch.from_numpy(labels)


def solved(head: str, x: Tensor, y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """(C, D) weights and (C,) intercepts by scikit-learn, to its last digit."""
    features, classes = x.numpy(), int(y.max()) + 1
    if head == "ridge":
        targets = np.eye(classes)[y.numpy()] * 2 - 1
        machine: Any = ScikitRidge(alpha=strength).fit(features, targets)
    elif head == "linear-svc":
        machine = ScikitLinearSVC(C=strength, tol=1e-10, max_iter=10**6, random_state=0).fit(features, y.numpy())
    else:
        machine = ScikitLogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(features, y.numpy())
    weight, bias = torch.from_numpy(machine.coef_), torch.from_numpy(np.atleast_1d(machine.intercept_))
    if len(weight) == 1:
        half = 2 if head == "logistic-regression" else 1
        weight, bias = torch.cat([-weight, weight]) / half, torch.cat([-bias, bias]) / half
    return weight, bias


def representers(head: str, x: Tensor, y: Tensor, strength: float) -> Representers:
    weight, bias = solved(head, x, y, strength)
    terms = Head.members()[head].terms(x @ weight.T + bias, y, strength)
    assert terms is not None
    return Representers.of(x, weight, bias, terms)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("classes", "width"), [(2, 12), (4, 12), (3, 90)])
def test_the_shares_sum_to_the_score(head: str, classes: int, width: int) -> None:
    x, y = clouds(0, 60, classes, width)
    queries, chosen = clouds(1, 10, classes, width)
    found = representers(head, x, y, 2.0)
    assert found.residual < 1e-3  # the terms are those of the objective: little is left to correct
    weight, bias = solved(head, x, y, 2.0)
    scores = (queries @ weight.T + bias).gather(1, chosen[:, None])[:, 0]
    sums = found.shares(queries, chosen).sum(1) + found.offset[chosen]
    torch.testing.assert_close(sums, scores, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("head", "classes"), [("linear-svc", 3), ("ridge", 3), ("logistic-regression", 2)])
def test_effects_are_those_of_refits_without_each_image(head: str, classes: int) -> None:
    strength = 1.0
    x, y = clouds(0, 150, classes, 40, apart=0.5)
    queries, chosen = clouds(1, 4, classes, 40, apart=0.5)
    weight, bias = solved(head, x, y, strength)
    effects = representers(head, x, y, strength).effects(queries, chosen)[:, :50]
    whole = (queries @ weight.T + bias).gather(1, chosen[:, None])[:, 0]
    true = torch.empty_like(effects)
    for row in range(50):
        kept = torch.arange(len(x)) != row
        weight, bias = solved(head, x[kept], y[kept], strength)
        true[:, row] = whole - (queries @ weight.T + bias).gather(1, chosen[:, None])[:, 0]
    for found, wanted in zip(effects, true):
        statistic: Any = spearmanr(found.round(decimals=6), wanted.round(decimals=6))
        assert statistic[0] > 0.9
        assert (found - wanted).abs().max() < (1e-5 if head == "ridge" else 0.3 * wanted.abs().max())


def test_other_images_than_those_of_the_fit_are_refused() -> None:
    x, y = clouds(0, 60, 3, 12)
    weight, bias = solved("linear-svc", x, y, 2.0)
    other, labels = clouds(5, 60, 3, 12)
    terms = Head.members()["linear-svc"].terms(other @ weight.T + bias, labels, 2.0)
    assert terms is not None
    with pytest.raises(DataError, match="not the images that the classifier was fitted to"):
        Representers.of(other, weight, bias, terms)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return paint_folder(tmp_path / "data", train=10, test=3)


@pytest.mark.parametrize("head", HEADS)
def test_a_saved_classifier_finds_its_training_images_and_explains_its_logits(
    head: str, data: Path, session: Session, tmp_path: Path
) -> None:
    """Some of the folder's images tested the classifier: these are told from those that it was fitted to."""
    fitted = fit(data / "train", "efficientnet_lite0@blocks.1", head=head, session=session)
    fitted.save_model(tmp_path / "model")
    model = load_model(str(tmp_path / "model"), session)
    queries = ClassFolders.read(data).everything.paths[-4:]
    found = training_images(model, list(queries), data / "train", session=session)
    assert found.shares is not None and found.effects is not None and found.why == ""
    trained = {ClassFolders.read(data / "train").train.paths[row] for row in fitted.split.train}
    assert set(found.training.paths) == trained and len(found.training) == 21
    torch.testing.assert_close(found.shares.sum(1) + found.offset, found.scores, atol=1e-6, rtol=0)
    logits = model(model.read(queries)).double()
    torch.testing.assert_close(found.scores, logits.amax(1), atol=1e-3, rtol=1e-3)
    assert found.classes.equal(logits.argmax(1))
    for row in range(4):
        own = [found.shares[row, at] for at in found.helpful(row)]
        assert own == sorted(own, reverse=True) and own[0] == found.shares[row].max() > 0
        assert all(found.shares[row, at] < 0 for at in found.harmful(row))
    result = found.result()
    assert result.metrics["largest-remainder"] < 1e-6


def test_the_command_explains_a_class_and_saves_the_shares(data: Path, session: Session, tmp_path: Path) -> None:
    mine = ImageClassifier("efficientnet_lite0@blocks.1", session=session).fit(data)
    mine.save(tmp_path / "model")
    image = data / "test" / "dots" / "0.png"
    command = ExplainTraining((image,), train=str(data), model=str(tmp_path / "model"), target="plain", shown=2)
    result = command.run(session)
    assert result.metrics["training-images"] == 30 and result.arrays["class"].tolist() == [1]
    assert result.arrays["shares"].sum() == pytest.approx(float(result.arrays["scores"][0]), abs=1e-6)
    with pytest.raises(SettingError, match="at least one image"):
        ExplainTraining((), train=str(data), model=str(tmp_path / "model")).run(session)


def test_missing_training_images_are_counted(data: Path, session: Session) -> None:
    mine = ImageClassifier("efficientnet_lite0@blocks.1", session=session).fit(data)
    for name in ("1.png", "2.png"):
        (data / "train" / "plain" / name).unlink()
    with pytest.raises(DataError, match="2 of the 30 images that the classifier was fitted to are not in"):
        training_images(mine.model, data / "test" / "dots", data, session=session)


def test_other_models_get_the_nearest_images_called_approximate(
    data: Path, tiny: VisionModel, session: Session
) -> None:
    copy = data / "train" / "plain" / "copy.png"
    copy.write_bytes((data / "test" / "dots" / "0.png").read_bytes())
    found = training_images(tiny, data / "test" / "dots" / "0.png", data, session=session)
    assert found.shares is None and found.harmful(0) == []
    assert found.training.paths[found.helpful(0)[0]] == copy and found.distances[0].min() < 1e-6
    (note,) = (block for block in found.result().blocks if isinstance(block, Note))
    assert note.level == "warning" and "An approximation" in note.text


def test_a_description_of_the_fit_from_outside_is_checked(data: Path, session: Session, tmp_path: Path) -> None:
    ImageClassifier("efficientnet_lite0@blocks.1", session=session).fit(data).save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    about = json.loads(path.read_text())
    assert len(about["fit"]["images"]) == 30
    about["fit"]["regularisation"] = "1"
    path.write_text(json.dumps(about))
    with pytest.raises(DataError.__mro__[1], match="regularisation"):
        load_model(str(tmp_path / "model"), session)
