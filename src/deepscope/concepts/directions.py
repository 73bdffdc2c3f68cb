"""Concept activation vectors, and a permutation test of a class's sensitivity to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscope.errors import DataError

_STRENGTH = 10.0
"""Inverse of the L2 penalty of the linear classifiers, for vectors of about unit length."""
_FOLDS = 3
_FEWEST = 5
"""Images of a concept."""


@dataclass(frozen=True)
class Sensitivity:
    """How a class score responds to a concept.

    Attributes:
        score: TCAV score: the share of the class's images whose score rises in the concept's direction, mean over the
            counterparts.
        random_score: the same, mean over the random sets.
        effect: change of the class score towards the concept, in standard deviations of those of the random sets,
            from their mean.
        p_value: two-sided, of the permutation test.
        accuracy: of the linear classifiers that tell the concept from its counterparts, by cross-validation.
    """

    score: float
    random_score: float
    effect: float
    p_value: float
    accuracy: float


def sensitivities(
    concept: NDArray[np.float64],
    others: NDArray[np.float64],
    counterparts: Sequence[NDArray[np.float64]],
    gradients: Sequence[NDArray[np.float64]],
    *,
    random_sets: int,
    rng: np.random.Generator,
) -> list[Sensitivity]:
    """Test a concept on one layer, for several classes.

    A concept's direction is the normal of a linear classifier between the concept and a counterpart. The statistic is
    the change of the class score, to first order, along this direction from the counterpart's mean to the concept's,
    mean over images and counterparts. The share of positive derivatives would not do: where the rest of the network is
    linear, it is 0 or 1 for every direction. Random sets are drawn from concept and other images together and take the
    concept's role against the same counterparts. If the concept's images do not differ from the others, all of these
    sets are exchangeable, so the test is exact for a pool of any size.

    Args:
        concept: (n, C) vectors of the concept's images.
        others: (m, C) of images from the pool.
        counterparts: sets (n, C) of further images from the pool.
        gradients: for each class, (images, C) gradients of the class score.
        random_sets: how many are drawn.
        rng: draws them.

    Returns:
        one result per class.
    """
    from sklearn import config_context

    together = np.concatenate([concept, others])
    basis = _Basis(np.concatenate([together, *counterparts]))
    drawn, against = basis(together), [basis(one) for one in counterparts]
    slopes = [basis.gradients(given) for given in gradients]
    count = len(concept)
    sets = [np.arange(count), *(rng.permutation(len(together))[:count] for _ in range(random_sets))]
    with config_context(assume_finite=True, skip_parameter_validation=True):  # thousands of small problems
        found = np.array([_changes(drawn[rows], against, slopes) for rows in sets])  # (sets, classes, 2)
        accuracy = float(np.mean([_accuracy(drawn[:count], one) for one in against]))
    return [_tested(found[:, place], accuracy) for place in range(len(gradients))]


def _tested(found: NDArray[np.float64], accuracy: float) -> Sensitivity:
    """Of (sets, 2) changes and TCAV scores, the concept's first."""
    changes, scores = found.T
    away = np.abs(changes - changes.mean())
    spread = changes[1:].std(ddof=1) if len(changes) > 2 else 0.0
    effect = (changes[0] - changes[1:].mean()) / spread if spread > 0 else 0.0
    tolerance = 1e-9 * float(np.abs(changes).max())
    p_value = float((away >= away[0] - tolerance).mean())
    return Sensitivity(float(scores[0]), float(scores[1:].mean()), float(effect), p_value, accuracy)


def _changes(
    members: NDArray[np.float64], counterparts: Sequence[NDArray[np.float64]], slopes: Sequence[NDArray[np.float64]]
) -> list[tuple[float, float]]:
    """For each class, the mean change of the score towards the set, and the TCAV score."""
    directions = np.stack([direction(members, one) for one in counterparts], 1)
    apart = np.stack([members.mean(0) - one.mean(0) for one in counterparts], 1)
    distances = (apart * directions).sum(0)
    along = [given @ directions for given in slopes]
    return [(float((each * distances).mean()), float((each > 0).mean())) for each in along]


def direction(members: NDArray[np.float64], counterpart: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C,) unit normal of the linear classifier between two sets, towards the first: a concept activation vector.

    Kim et al. 2018, "Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors
    (TCAV)".
    """
    normal = _classifier().fit(*_labelled(members, counterpart)).coef_[0]
    return normal / max(float(np.linalg.norm(normal)), 1e-300)


def _accuracy(members: NDArray[np.float64], counterpart: NDArray[np.float64]) -> float:
    from sklearn.model_selection import cross_val_score

    folds = min(_FOLDS, len(members), len(counterpart))
    return float(cross_val_score(_classifier(), *_labelled(members, counterpart), cv=folds).mean())


def _classifier() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=_STRENGTH, max_iter=200)


def _labelled(members: NDArray[np.float64], counterpart: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    labels = np.repeat([1, 0], [len(members), len(counterpart)])
    return np.concatenate([members, counterpart]), labels


def divided(
    pool: int, count: int, concept: str, counterparts: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Rows of the pool for random sets, and disjoint from them those of each counterpart.

    Raises:
        DataError: the concept has too few images, or the pool does.
    """
    if count < _FEWEST:
        raise DataError(f"concept {concept} needs at least {_FEWEST} images (got {count})", data=concept)
    if pool < 2 * count:
        raise DataError(f"the pool needs at least {2 * count} images, twice as many as concept {concept} (got {pool})")
    order = rng.permutation(pool)
    half = order[pool // 2 :]
    return order[: pool // 2], [rng.permutation(half)[:count] for _ in range(counterparts)]


class _Basis:
    """Coordinates in the span of vectors, of about unit length: penalised linear classifiers are the same in these."""

    def __init__(self, vectors: NDArray[np.float64]) -> None:
        self._centre = vectors.mean(0)
        _, values, axes = np.linalg.svd(vectors - self._centre, full_matrices=False)
        keep = values > 1e-9 * max(float(values[0]), 1e-300)
        self._axes = axes[keep] if keep.any() else axes[:1]
        self._length = max(float(np.sqrt(np.square(values).sum() / len(vectors))), 1e-300)

    def __call__(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        return (vectors - self._centre) @ self._axes.T / self._length

    def gradients(self, given: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gradients in these coordinates: derivatives in a direction stay the same, up to one factor."""
        return given @ self._axes.T
