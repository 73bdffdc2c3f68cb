"""Confident learning: against the paper's equations written with loops, and on labels that were flipped on purpose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepscope.checks.labels import Labels
from deepscope.data import ClassFolders
from deepscope.errors import DataError
from deepscope.models import VisionModel
from deepscope.results import ImageGrid, Note, Table
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.transfer import confident_learning as ours
from deepscope.transfer import label_errors
from networks import tiny_model
from painted import CLASSES, paint_folder


def plain_joint(p: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Equations 1 to 3 of Northcutt, Jiang and Chuang (2021), word for word."""
    classes = p.shape[1]
    t = [np.mean([p[x, j] for x in range(len(y)) if y[x] == j]) for j in range(classes)]
    counts = np.zeros((classes, classes))
    for x in range(len(y)):
        reached = [j for j in range(classes) if p[x, j] >= t[j]]
        if reached:
            counts[y[x], max(reached, key=lambda j: p[x, j])] += 1
    q = np.zeros_like(counts)
    for i in range(classes):
        if counts[i].sum() == 0:
            counts[i, i] = 1
        for j in range(classes):
            q[i, j] = counts[i, j] / counts[i].sum() * sum(y == i)
    return q / q.sum()


def noisy(seed: int, images: int, classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Probabilities of a fairly good classifier, true labels and given ones; every class occurs."""
    rng = np.random.default_rng(seed)
    true = np.concatenate([np.arange(classes), rng.integers(classes, size=images - classes)])
    scores = rng.normal(size=(images, classes)) + 3 * np.eye(classes)[true]
    probabilities = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    flipped = rng.random(images) < 0.1
    flipped[:classes] = False
    shown = np.where(flipped, (true + rng.integers(1, classes, images)) % classes, true)
    return probabilities, true, shown


@given(st.integers(0, 2**31), st.integers(8, 60), st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_the_joint_is_that_of_the_papers_equations(seed: int, images: int, classes: int) -> None:
    probabilities, _, labels = noisy(seed, images, classes)
    np.testing.assert_allclose(ours.joint(probabilities, labels), plain_joint(probabilities, labels), atol=1e-12)


@given(st.integers(0, 2**31), st.integers(8, 60), st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_suspects_are_the_lowest_margins_of_each_pair(seed: int, images: int, classes: int) -> None:
    probabilities, _, labels = noisy(seed, images, classes)
    found, joint = ours.suspects(probabilities, labels), plain_joint(probabilities, labels)
    wanted = set()
    for i in range(classes):
        for j in range(classes):
            if i != j:
                rows = sorted(
                    (x for x in range(images) if labels[x] == i),
                    key=lambda x: probabilities[x, i] - probabilities[x, j],
                )
                wanted |= set(rows[: round(joint[i, j] * images)])
    wanted = {x for x in wanted if probabilities[x].argmax() != labels[x]}
    assert set(np.flatnonzero(found).tolist()) == wanted


def test_a_class_that_nothing_is_confident_of_stays_on_the_diagonal() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.5, 0.5]])
    joint = ours.joint(probabilities, np.array([0, 0, 1, 1]))
    assert joint.sum() == pytest.approx(1) and joint[0, 1] == 0


@pytest.mark.parametrize("seed", range(5))
def test_planted_errors_are_estimated_found_and_bound_the_true_accuracy(seed: int) -> None:
    """The labels are wrong at a known rate; the accuracy against the true ones is known too."""
    probabilities, true, labels = noisy(seed, 3000, 5)
    wrong = ours.share_wrong(probabilities, labels, seed=seed)
    planted = labels != true
    assert wrong.value == pytest.approx(planted.mean(), abs=0.03)
    assert wrong.low < wrong.value < wrong.high
    found = ours.suspects(probabilities, labels)
    assert (found & planted).sum() > 0.7 * planted.sum()
    right = (probabilities.argmax(1) == labels).mean()
    low, high = ours.accuracy_bounds(Estimate(right, right, right), wrong)
    assert low <= (probabilities.argmax(1) == true).mean() <= high


def test_bounds_of_accuracy_stay_within_0_and_1() -> None:
    assert ours.accuracy_bounds(Estimate(0.9, 0.88, 0.92), Estimate(0.05, 0.04, 0.06)) == pytest.approx((0.82, 0.98))
    assert ours.accuracy_bounds(Estimate(1.0, 0.99, 1.0), Estimate(0.0, 0.0, 0.3)) == pytest.approx((0.69, 1.0))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return paint_folder(tmp_path / "data", train=12, test=4)


def test_flipped_labels_of_pictures_are_the_most_suspect(data: Path, session: Session) -> None:
    moved = data / "train" / "plain" / "moved.png"
    (data / "train" / "stripes" / "3.png").rename(moved)
    found = label_errors(ClassFolders.read(data), "efficientnet_lite0@blocks.1", session=session)
    assert len(found) == 48 and found.test is not None and found.test.sum() == 12
    assert found.paths[found.ranked[0]] == moved
    assert found.classes[found.predicted[found.ranked[0]]] == "stripes"
    assert found.columns()["suspect"] == found.suspects.tolist()
    result = found.result()
    assert result.metrics["suspects"] == found.suspects.sum() >= 1
    (table,) = (block for block in result.blocks if isinstance(block, Table) and block.title == "Suspect labels")
    assert table.rows[0][:3] == (str(moved), "plain", "stripes")
    (grid,) = (block for block in result.blocks if isinstance(block, ImageGrid))
    assert "moved.png: labelled plain, looks like stripes" in grid.rows[0][0].caption


def test_probabilities_are_of_classifiers_that_did_not_see_the_label(
    data: Path, tiny: VisionModel, session: Session
) -> None:
    """With random labels, no classifier that did not see them is right more often than chance allows."""
    folders = ClassFolders.read(data)
    rng = np.random.default_rng(0)
    pairs = [(path, str(rng.integers(2))) for path in folders.everything.paths]
    found = label_errors(pairs, tiny, head="nearest-neighbours", session=session)
    assert 0.2 < found.accuracy.value < 0.8  # one nearest neighbour of its own would make it 1


def test_a_class_with_one_image_is_left_out_and_two_classes_are_needed(
    data: Path, tiny: VisionModel, session: Session
) -> None:
    paths = ClassFolders.read(data).train.paths
    pairs = [*((path, path.parent.name) for path in paths), (paths[0], "alone")]
    found = label_errors(pairs, tiny, session=session)
    assert found.left_out == ("alone",) and found.classes == CLASSES and len(found) == 36
    assert any("alone" in block.text for block in found.result().blocks if isinstance(block, Note))
    with pytest.raises(DataError, match="at least two classes with two readable images"):
        label_errors([(path, path.parent.name) for path in paths[:12]], tiny, session=session)


def test_the_check_uses_the_features_of_any_model_and_draws_a_part(
    data: Path, tiny: VisionModel, session: Session
) -> None:
    session.models["tiny"] = tiny  # type: ignore[index]
    result = Labels(str(data), model="tiny", limit=30).run(session)
    assert result.metrics["images"] <= 30
    assert any(isinstance(block, Note) and block.title == "Label errors" for block in result.blocks)


def test_without_suspects_there_is_no_empty_picture(data: Path, tiny: VisionModel, session: Session) -> None:
    found = label_errors(ClassFolders.read(data), tiny, session=session)
    clean = replace(found, suspects=np.zeros_like(found.suspects), pictures={})
    assert not any(isinstance(block, ImageGrid) for block in clean.result().blocks)


@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_separation_is_the_share_of_pairs_in_order(seed: int, first: int, second: int) -> None:
    confidence = np.random.default_rng(seed).integers(6, size=first + second) / 5  # with ties
    wrong = np.arange(first + second) < first
    pairs = [(low < high) + 0.5 * (low == high) for low in confidence[wrong] for high in confidence[~wrong]]
    found = ours.separation(confidence, wrong)
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.low <= found.value <= found.high


def test_planted_labels_are_of_other_classes_and_leave_every_class_two() -> None:
    labels = np.repeat(np.arange(4), (2, 3, 40, 55))
    changed, wrong = ours.planted(labels, 0.2, seed=1)
    assert wrong.sum() == 20 and np.array_equal(wrong, changed != labels)
    assert min(np.bincount(changed)) >= 2 and set(np.unique(changed)) == set(range(4))
    again, _ = ours.planted(labels, 0.2, seed=1)
    assert np.array_equal(again, changed)


def test_a_share_is_stated_only_where_planted_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    noise = [(rng.integers(256, size=(16, 16, 3), dtype=np.uint8), int(label)) for label in labels]
    flat = [(np.full((16, 16, 3), 100 * label + rng.integers(20), np.uint8), int(label)) for label in labels]
    found = {name: label_errors(pairs, tiny_model()) for name, pairs in (("noise", noise), ("flat", flat))}
    assert not found["noise"].decides and found["noise"].trial.low < 0.6
    assert found["flat"].decides and found["flat"].trial.value > 0.95
    assert "wrong-labels" not in found["noise"].result().metrics
    metrics = found["flat"].result().metrics
    assert metrics["wrong-labels"] < 0.1
    assert metrics["accuracy/bounds/low"] <= metrics["accuracy"] <= metrics["accuracy/bounds/high"]
    warning = next(block for block in found["noise"].result().blocks if isinstance(block, Note))
    assert warning.level == "warning" and "cannot be counted with these features" in warning.text
