"""Confident learning: which labels are wrong, from probabilities of classifiers that did not see them.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial
Intelligence Research 70, 2021. Arrays in, arrays out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from deepscope.statistics import Estimate

_DRAWS = 200
"""Bootstrap samples of the share of wrong labels."""


def thresholds(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C,) for each class the mean probability that its own images get for it: equation 2 of the paper.

    Args:
        probabilities: (N, C), of each image by a classifier that did not see its label.
        labels: (N,) the given labels; each class has at least one image.
    """
    own = self_confidence(probabilities, labels)
    return np.bincount(labels, own, probabilities.shape[1]) / np.bincount(labels, minlength=probabilities.shape[1])


def confident_class(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the most probable class among those whose threshold an image reaches; -1 where it reaches none."""
    reached = probabilities >= thresholds(probabilities, labels) - 1e-12
    best = np.where(reached, probabilities, -1.0).argmax(1)
    return np.where(reached.any(1), best, -1)


def joint(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C, C) the estimated share of images with given label i (row) and true label j (column): equation 3.

    The confident joint counts images by given label and confident class. Each row is scaled to the share of images
    with its label; a row without counts is put on the diagonal.
    """
    classes = probabilities.shape[1]
    confident = confident_class(probabilities, labels)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels[confident >= 0], confident[confident >= 0]), 1)
    empty = counts.sum(1) == 0
    counts[empty, empty] = 1
    given = np.bincount(labels, minlength=classes) / len(labels)
    return counts / counts.sum(1, keepdims=True) * given[:, None]


def self_confidence(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) the probability of the given label: the lower, the more suspect (section 3.2 of the paper)."""
    return probabilities[np.arange(len(labels)), labels]


def suspects(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) which labels are probably wrong: pruning by noise rate (section 3.2 of the paper).

    For each pair of a given and another class, as many images as the joint says, those of the lowest margin between
    the two.
    """
    count = np.round(joint(probabilities, labels) * len(labels)).astype(int)
    found = np.zeros(len(labels), bool)
    for given, true in zip(*np.nonzero(count)):
        if given != true:
            rows = np.flatnonzero(labels == given)
            margin = probabilities[rows, given] - probabilities[rows, true]
            found[rows[np.argsort(margin, kind="stable")[: count[given, true]]]] = True
    return found & (probabilities.argmax(1) != labels)


def share_wrong(probabilities: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int = 0) -> Estimate:
    """The estimated share of wrong labels, with a percentile bootstrap interval over images within each class."""
    rng = np.random.default_rng(seed)
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = []
    for _ in range(_DRAWS):
        rows = np.concatenate([rng.choice(rows, len(rows)) for rows in by_class])
        drawn.append(_off_diagonal(joint(probabilities[rows], labels[rows])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(_off_diagonal(joint(probabilities, labels)), float(low), float(high))


def accuracy_bounds(accuracy: Estimate, wrong: Estimate) -> tuple[float, float]:
    """Between what the accuracy against the true labels lies, where a share of the given labels is wrong.

    A wrong label changes whether one prediction counts as right: at worst each wrong label is one that the classifier
    repeats, at best each is one that it contradicts with the true class. The ends of both intervals are taken.
    """
    contradicted = min(wrong.high, 1 - accuracy.low)
    return max(accuracy.low - wrong.high, 0.0), min(accuracy.high + contradicted, 1.0)


def planted(labels: NDArray[np.int64], share: float, *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(N,) the labels, a share of them replaced by another class drawn at random, and which; every class keeps two."""
    rng = np.random.default_rng(seed)
    changed, classes = labels.copy(), np.unique(labels)
    left = dict(zip(classes.tolist(), np.bincount(labels)[classes].tolist(), strict=True))
    for row in rng.permutation(len(labels)).tolist():
        if int((changed != labels).sum()) >= round(share * len(labels)):
            break
        if left[int(labels[row])] > 2:
            left[int(labels[row])] -= 1
            changed[row] = rng.choice(classes[classes != labels[row]])
    return changed, changed != labels


def separation(confidence: NDArray[np.float64], wrong: NDArray[np.bool_]) -> Estimate:
    """The chance that a wrong label has a lower confidence than another one (AUROC); NaN where there are no wrong ones.

    The interval is that of Hanley and McNeil, "The meaning and use of the area under a receiver operating
    characteristic (ROC) curve", Radiology 143, 1982.
    """
    first, second = int(wrong.sum()), int((~wrong).sum())
    if not first or not second:
        return Estimate(math.nan, math.nan, math.nan)
    ranks = rankdata(-confidence)
    area = (ranks[wrong].sum() - first * (first + 1) / 2) / (first * second)
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (first - 1) * (one - area**2) + (second - 1) * (other - area**2)
    half = 1.96 * math.sqrt(max(spread, 0.0) / (first * second))
    return Estimate(float(area), max(float(area) - half, 0.0), min(float(area) + half, 1.0))


def _off_diagonal(shares: NDArray[np.float64]) -> float:
    return float(shares.sum() - np.trace(shares))
