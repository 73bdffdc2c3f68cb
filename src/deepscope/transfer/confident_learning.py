"""Confident learning: which labels are wrong, from probabilities of classifiers that did not see them.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial
Intelligence Research 70, 2021. Arrays in, arrays out; what needs the probabilities of all images also takes them
block by block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from deepscope.statistics import Estimate

_DRAWS = 200
"""Bootstrap samples of the share of wrong labels."""

Blocks: TypeAlias = Iterable[tuple[slice, NDArray[np.float64]]]
"""Places of consecutive images, and their (n, C) probabilities."""


def thresholds(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C,) for each class the mean probability that its own images get for it: equation 2 of the paper.

    Args:
        probabilities: (N, C), of each image by a classifier that did not see its label.
        labels: (N,) the given labels; each class has at least one image.
    """
    return mean_confidence(self_confidence(probabilities, labels), labels)


def mean_confidence(confidence: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C,) as `thresholds`, of the (N,) probabilities of the given labels."""
    return np.bincount(labels, confidence) / np.bincount(labels)


def joint(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C, C) the estimated share of images with given label i (row) and true label j (column): equation 3.

    The confident joint counts images by given label and confident class. Each row is scaled to the share of images
    with its label; a row without counts is put on the diagonal.
    """
    return joint_of([(slice(0, len(labels)), probabilities)], labels, thresholds(probabilities, labels))


def joint_of(blocks: Blocks, labels: NDArray[np.int64], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `joint`, with the classes' thresholds. The confident class is the most probable of those that are reached."""
    classes = len(limits)
    counts = np.zeros((classes, classes))
    for rows, probabilities in blocks:
        reached = probabilities >= limits - 1e-12
        best, own = np.where(reached, probabilities, -1.0).argmax(1), reached.any(1)
        np.add.at(counts, (labels[rows][own], best[own]), 1)
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
    return suspects_of([(slice(0, len(labels)), probabilities)], labels, joint(probabilities, labels))


def suspects_of(blocks: Blocks, labels: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """As `suspects`, with the joint. Besides a block, only the images of the lowest margins so far are held."""
    count = np.round(shares * len(labels)).astype(int)
    np.fill_diagonal(count, 0)
    below = np.where(count > 0, np.inf, -np.inf)  # which margins are among the lowest, by pair
    lowest = np.empty(0, [("pair", int), ("margin", float), ("row", int)])
    contradicted = np.zeros(len(labels), bool)
    for rows, probabilities in blocks:
        own = labels[rows]
        contradicted[rows] = probabilities.argmax(1) != own
        margins = self_confidence(probabilities, own)[:, None] - probabilities
        images, true = np.nonzero(margins < below[own])
        more = np.empty(len(images), lowest.dtype)
        more["pair"], more["margin"], more["row"] = own[images] * len(count) + true, margins[images, true], images
        more["row"] += rows.start
        lowest = np.concatenate([lowest, more])
        lowest = lowest[np.lexsort((lowest["row"], lowest["margin"], lowest["pair"]))]
        pairs, starts = np.unique(lowest["pair"], return_index=True)
        place = np.arange(len(lowest)) - np.repeat(starts, np.diff([*starts, len(lowest)]))
        lowest = lowest[place < count.flat[lowest["pair"]]]
        pairs, held = np.unique(lowest["pair"], return_counts=True)
        full = held == count.flat[pairs]
        below.flat[pairs[full]] = lowest["margin"][np.cumsum(held) - 1][full]
    found = np.zeros(len(labels), bool)
    found[lowest["row"]] = True
    return found & contradicted


def share_wrong(probabilities: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int = 0) -> Estimate:
    """The estimated share of wrong labels, with a percentile bootstrap interval over images within each class."""
    rng = np.random.default_rng(seed)
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = []
    for _ in range(_DRAWS):
        rows = np.concatenate([rng.choice(rows, len(rows)) for rows in by_class])
        drawn.append(off_diagonal(joint(probabilities[rows], labels[rows])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(off_diagonal(joint(probabilities, labels)), float(low), float(high))


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
    wanted = round(share * len(labels))
    for row in rng.permutation(len(labels)).tolist():
        if not wanted:
            break
        if left[int(labels[row])] > 2:
            left[int(labels[row])] -= 1
            changed[row] = rng.choice(classes[classes != labels[row]])
            wanted -= 1
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


def off_diagonal(shares: NDArray[np.float64]) -> float:
    """The share of wrong labels that a joint says."""
    return float(shares.sum() - np.trace(shares))
