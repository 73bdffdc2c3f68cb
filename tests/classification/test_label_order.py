"""Likely mistakes in the order of a model's classes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deepscope.classification.label_order import label_order


def predictions(
    order: list[int], right: float, images: int = 20, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True classes, and predictions that are those of another order of the classes with that probability."""
    rng = np.random.default_rng(seed)
    true = np.repeat(np.arange(len(order)), images)
    guess = rng.integers(0, len(order), len(true))
    return true, np.where(rng.random(len(true)) < right, np.array(order)[true], guess)


@pytest.mark.parametrize("order", [[1, 0], [1, 2, 3, 4, 0], [0, 3, 1, 4, 2]], ids=["swapped", "turned", "mixed"])
def test_a_planted_order_is_found(order: list[int]) -> None:
    true, predicted = predictions(order, 0.9)
    found = label_order(true, predicted, len(order))
    assert found is not None
    assert {(one.true, one.predicted) for one in found.exchanges} == {(i, j) for i, j in enumerate(order) if i != j}
    assert found.accuracy.high < found.reordered.low
    assert [one.count for one in found.exchanges] == sorted((one.count for one in found.exchanges), reverse=True)
    for one in found.exchanges:
        assert one.count == int(((true == one.true) & (predicted == one.predicted)).sum())


@pytest.mark.parametrize("seed", range(20))
def test_a_guessing_classifier_has_no_order(seed: int) -> None:
    """Its best order looks good on the images that it was found on, and not on others."""
    assert label_order(*predictions([0, 1, 2, 3, 4], 0.0, images=4, seed=seed), 5) is None


def test_a_good_classifier_and_a_constant_one_have_no_order() -> None:
    assert label_order(*predictions([0, 1, 2], 0.9), 3) is None
    true, _ = predictions([0, 1, 2], 1)
    assert label_order(true, np.zeros_like(true), 3) is None


def test_few_images_are_no_evidence() -> None:
    assert label_order(np.array([0, 1]), np.array([1, 0]), 2) is None


def test_classes_that_no_image_shows_stay() -> None:
    true, predicted = predictions([1, 0], 1.0)
    found = label_order(true, predicted, 1000)
    assert found is not None
    assert len(found.exchanges) == 2
