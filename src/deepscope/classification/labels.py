"""Evaluation of several labels per image: average precision of each, their mean, and decisions at the thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepscope.errors import DataError
from deepscope.models import VisionModel
from deepscope.statistics import Estimate, proportion

_DRAWS = 500


@dataclass(frozen=True)
class LabelScore:
    """How well one label is told from the others.

    Attributes:
        label: its place among the model's.
        images: how many show it.
        average_precision: of its probabilities; NaN where no image shows it.
        threshold: above which it is predicted.
        precision: of the images it is predicted for, the share that shows it.
        recall: of the images that show it, the share it is predicted for.
    """

    label: int
    images: int
    average_precision: Estimate
    threshold: float
    precision: Estimate
    recall: Estimate


@dataclass(frozen=True, eq=False)
class LabelEvaluation:
    """How well a model with several labels per image predicts them.

    Attributes:
        model: the model.
        images: how many were evaluated.
        scores: of each label that the images' truth is known of.
        mean_average_precision: mean over the labels that some image shows.
        exact: share of images whose predicted labels are exactly those that they show.
    """

    model: VisionModel
    images: int
    scores: tuple[LabelScore, ...]
    mean_average_precision: Estimate
    exact: Estimate

    @property
    def metrics(self) -> dict[str, float]:
        """All figures with their intervals: mAP, exact matches, and each label's average precision."""
        found = {"known": float(self.images), **self.mean_average_precision.metrics("mAP")}
        found |= self.exact.metrics("exact-match")
        for score in self.scores:
            if score.images:
                found |= score.average_precision.metrics(f"average-precision/{self.model.categories[score.label]}")
        return found


def evaluate_labels(
    model: VisionModel, logits: Tensor, truth: Tensor, known: Sequence[int] | None = None, *, seed: int = 0
) -> LabelEvaluation:
    """Compare predicted labels with those that images show.

    Intervals are percentiles of a bootstrap over images (500 draws), those of shares Wilson's.

    Args:
        model: with a multilabel head.
        logits: (N, C) of the model.
        truth: (N, C) bool, the labels that each image shows.
        known: the labels that the truth says something of; all by default.
        seed: of the bootstrap.

    Raises:
        DataError: no image shows any label.
    """
    labels = range(truth.shape[1]) if known is None else known
    shown = truth.cpu().numpy().astype(bool)
    if not shown[:, list(labels)].any():
        raise DataError(f"no image shows a label of {model.name}: there is nothing to measure")
    predicted = model.head.predictions(logits).cpu().numpy()
    counts = np.random.default_rng(seed).multinomial(len(shown), np.full(len(shown), 1 / len(shown)), size=_DRAWS)
    weights = np.concatenate([np.ones((1, len(shown)), np.int64), counts])  # the images themselves, then the draws
    scores: list[LabelScore] = []
    drawn: list[NDArray[np.float64]] = []
    for label in labels:
        own, said = shown[:, label], predicted[:, label]
        precisions = average_precision(logits[:, label].double().cpu().numpy(), own, weights)
        drawn.append(precisions)
        hits = int((own & said).sum())
        scores.append(
            LabelScore(
                label,
                int(own.sum()),
                _estimate(precisions),
                model.head.threshold(label),
                proportion(hits, int(said.sum())),
                proportion(hits, int(own.sum())),
            )
        )
    present = np.array([values for values in drawn if not math.isnan(values[0])])
    exact = (predicted == shown)[:, list(labels)].all(1)
    drawn_some = ~np.isnan(present).all(0)  # a draw of few images may show no label at all
    overall = _estimate(np.nanmean(present[:, drawn_some], axis=0))
    return LabelEvaluation(model, len(shown), tuple(scores), overall, proportion(int(exact.sum()), len(exact)))


def average_precision(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(D,) average precision of (N,) scores of images, each counted as often as a row of weights (D, N) says.

    The sum over thresholds of the precision, times the step in recall: scikit-learn's `average_precision_score`. NaN
    where no image that counts shows the label.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # equal scores share a threshold
    counted = weights[:, order].astype(np.float64)
    hits = np.cumsum(counted * truth[order], axis=1)
    taken, hits = np.cumsum(counted, axis=1)[:, ends], hits[:, ends]
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    steps = np.diff(hits, axis=1, prepend=0)
    total = hits[:, -1]
    return np.divide((precision * steps).sum(1), total, out=np.full(len(total), np.nan), where=total > 0)


def _estimate(values: NDArray[np.float64]) -> Estimate:
    """The first value, with the interval of the others."""
    if math.isnan(values[0]):
        return Estimate(math.nan, math.nan, math.nan)
    known = values[~np.isnan(values)]
    low, high = np.quantile(known[1:] if len(known) > 1 else known, [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))
