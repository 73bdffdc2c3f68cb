"""LIME: a linear model of the class's probability around an image, over its superpixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deepscope.attributions.superpixels import Coalitions, Estimator, OfSuperpixels

_WIDTH = 0.25
"""Of the kernel: how fast a masked image counts less the more of it is hidden."""
_RIDGE = 1.0
_ROUND = 64
"""Masks per round, after the first one."""


@dataclass(frozen=True)
class LIME(OfSuperpixels):
    """The weights of a linear model of the class's probability, fitted to images with random superpixels hidden.

    Uses only the network's outputs. Each superpixel is hidden with probability 1/2; images nearer to the whole one
    count more. Kernel and ridge regression are those of the authors' implementation. Sampling stops when the standard
    error of every weight is within `error`.

    Ribeiro, Singh and Guestrin 2016, "'Why Should I Trust You?': Explaining the Predictions of Any Classifier".

    Attributes:
        superpixels: how many an image is divided into, approximately.
        baseline: what hides a superpixel.
        error: standard error of a weight, in units of probability, at which sampling stops.
        samples: most masked images per image; where they do not suffice, a warning says what was reached.
    """

    common: ClassVar[bool] = True

    def estimator(self, count: int, rng: np.random.Generator) -> Estimator:
        """Of one image."""
        return _Linear(count, self.samples, rng)


class _Linear(Estimator):
    """Weighted ridge regression."""

    def __init__(self, count: int, most: int, rng: np.random.Generator) -> None:
        super().__init__(count, most, rng)
        self._masks: list[Coalitions] = []
        self._seen: list[NDArray[np.float64]] = []

    def draw(self) -> Coalitions:
        """The whole image first."""
        drawn = sum(map(len, self._masks))
        wanted = min(_ROUND if drawn else max(_ROUND, 2 * self.count), self.most - drawn)
        masks = self.rng.random((wanted, self.count)) < 0.5
        if not drawn:
            masks[0] = True
        return masks

    def add(self, masks: Coalitions, seen: NDArray[np.float64]) -> None:
        """The probabilities behind the masks."""
        self._masks.append(masks)
        self._seen.append(seen)

    def estimate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The weights; errors of too few samples are infinite."""
        return ridge(np.concatenate(self._masks), np.concatenate(self._seen))


def ridge(masks: Coalitions, seen: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LIME's weights of the superpixels, and their standard errors (heteroscedasticity-consistent, HC1).

    Args:
        masks: (n, superpixels).
        seen: (n,) probabilities.
    """
    near = kernel(masks)
    points = masks - np.average(masks, axis=0, weights=near)
    values = seen - np.average(seen, weights=near)
    inverse = np.linalg.inv((points * near[:, None]).T @ points + _RIDGE * np.eye(masks.shape[1]))
    weights = inverse @ (points.T @ (near * values))
    free = len(masks) - masks.shape[1] - 1
    if free <= 0:
        return weights, np.full(masks.shape[1], np.inf)
    spread = (points * (near * (values - points @ weights))[:, None]) @ inverse
    return weights, np.sqrt((spread**2).sum(0) * len(masks) / free)


def kernel(masks: Coalitions) -> NDArray[np.float64]:
    """(n,) how much each masked image counts: by the cosine distance of its mask from that of the whole image."""
    distance = 1 - np.sqrt(masks.mean(1))
    return np.sqrt(np.exp(-(distance**2) / _WIDTH**2))
