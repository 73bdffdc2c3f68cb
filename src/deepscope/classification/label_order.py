"""Whether the names of a classifier's classes stand in another order than its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepscope.statistics import Estimate, proportion

_MOST = 0.5
"""Accuracy above which the order of most classes is right."""
_LEAST = 0.5
"""Accuracy that the other order must reach on images that it was not found on."""
_FEWEST = 8
"""Images that an order is tested on, at least."""


@dataclass(frozen=True)
class Exchange:
    """A class whose images are predicted as another one: places among the classes, and how many of its images."""

    true: int
    predicted: int
    count: int
    images: int


@dataclass(frozen=True)
class LabelOrder:
    """Another order of the classes that explains the images far better than the given one.

    Attributes:
        accuracy: of the given order.
        reordered: accuracy of the other order, on the half of the images that it was not found on.
        exchanges: the classes that change places, the most telling first.
    """

    accuracy: Estimate
    reordered: Estimate
    exchanges: tuple[Exchange, ...]


def label_order(
    true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, *, seed: int = 0
) -> LabelOrder | None:
    """Look for a likely mistake in the order of the classes: one class for each, by linear assignment.

    The order is found on a random half of the images and tested on the other half. It is a likely mistake where the
    given order is right on less than half of the images, and the other one on more than half of those of the test, with
    intervals that do not overlap.

    Args:
        true, predicted: (N,) class numbers.
        classes: that there are.
        seed: of the division into halves.

    Returns:
        the other order; None where the predictions suggest none.
    """
    accuracy = proportion(int((true == predicted).sum()), len(true))
    if len(true) < 2 * _FEWEST or classes < 2 or accuracy.value >= _MOST:
        return None
    second = np.random.default_rng(seed).permutation(len(true)) % 2 == 1
    order = _assigned(true[~second], predicted[~second], classes)
    reordered = proportion(int((order[true[second]] == predicted[second]).sum()), int(second.sum()))
    if reordered.value < _LEAST or reordered.low <= accuracy.high:
        return None
    order = _assigned(true, predicted, classes)
    exchanges = [
        Exchange(label, int(other), int(((true == label) & (predicted == other)).sum()), int((true == label).sum()))
        for label, other in enumerate(order)
        if label != other and (true == label).any()
    ]
    exchanges = [one for one in exchanges if one.count]
    return LabelOrder(accuracy, reordered, tuple(sorted(exchanges, key=lambda one: -one.count)))


def _assigned(true: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """(C,) the class that images of each class are predicted as, a different one for each, right most often in all."""
    from scipy.optimize import linear_sum_assignment

    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (true, predicted), 1)
    confusion[np.diag_indices(classes)] += 1e-3  # a class that nothing speaks for stays in its place
    return np.asarray(linear_sum_assignment(confusion, maximize=True)[1], dtype=np.int64)
