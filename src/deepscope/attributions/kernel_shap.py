"""KernelSHAP: Shapley values of superpixels, from the probabilities alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import comb
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deepscope.attributions.superpixels import Coalitions, Estimator, OfSuperpixels

_ROUND = 64
"""Masks per round, after the first one."""


@dataclass(frozen=True)
class KernelSHAP(OfSuperpixels):
    """The Shapley values of superpixels: each one's fair share of the difference of the class's probability.

    Uses only the network's outputs. Random sets of superpixels are hidden, each with its complement, and a weighted
    regression gives the values, which add up exactly. Sampling stops when the standard error of every value is
    within `error`. Where all sets fit into `samples`, the values are exact.

    Lundberg and Lee 2017, "A Unified Approach to Interpreting Model Predictions"; standard errors and paired sampling:
    Covert and Lee 2021, "Improving KernelSHAP: Practical Shapley Value Estimation Using Linear Regression".

    Attributes:
        superpixels: how many an image is divided into, approximately.
        baseline: what hides a superpixel.
        error: standard error of a value, in units of probability, at which sampling stops.
        samples: most masked images per image; where they do not suffice, a warning says what was reached.
    """

    common: ClassVar[bool] = True

    def estimator(self, count: int, rng: np.random.Generator) -> Estimator:
        """Of one image."""
        return _Shapley(count, self.samples, rng)


class _Shapley(Estimator):
    """Least squares whose values add up to the difference between the whole and the empty image."""

    def __init__(self, count: int, most: int, rng: np.random.Generator) -> None:
        super().__init__(count, most, rng)
        self._exact = count < 30 and 2**count - 2 <= most
        self._ends: tuple[float, float] | None = None
        self._masks: list[Coalitions] = []
        self._seen: list[NDArray[np.float64]] = []

    def draw(self) -> Coalitions:
        """First the empty and the whole image too. In pairs: a set, and all but that set."""
        ends = [] if self._masks else [np.zeros(self.count, bool), np.ones(self.count, bool)]
        if self.count == 1:
            sets = []
        elif self._exact:
            every = [] if self._masks else product((False, True), repeat=self.count)
            sets = [np.array(one) for one in every if 0 < sum(one) < self.count]
        else:
            drawn = sum(map(len, self._masks))
            wanted = min(_ROUND if self._masks else max(_ROUND, 4 * self.count), max(self.most, 2) - drawn)
            sets = [one for _ in range(wanted // 2) for one in self._pair()]
        return np.array([*ends, *sets], dtype=bool).reshape(-1, self.count)

    def _pair(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        sizes = np.arange(1, self.count)
        weight = 1 / (sizes * (self.count - sizes))
        chosen = np.zeros(self.count, dtype=bool)
        size = self.rng.choice(sizes, p=weight / weight.sum())
        chosen[self.rng.permutation(self.count)[:size]] = True
        return chosen, ~chosen

    def add(self, masks: Coalitions, seen: NDArray[np.float64]) -> None:
        """The probabilities, those of the ends first."""
        if self._ends is None:
            self._ends = (float(seen[0]), float(seen[1]))
            masks, seen = masks[2:], seen[2:]
        self._masks.append(masks)
        self._seen.append(seen)

    def estimate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values; errors of the exact ones are 0, those of too few samples infinite."""
        assert self._ends is not None
        empty, whole = self._ends
        if self.count == 1:
            return np.array([whole - empty]), np.zeros(1)
        masks = np.concatenate(self._masks).astype(float)
        gained = np.concatenate(self._seen) - empty
        weights = self._weights(masks)
        moments = (masks * weights[:, None]).T @ masks
        inverse = np.linalg.pinv(moments, hermitian=True)
        row = inverse.sum(0)
        free = inverse @ (masks.T @ (weights * gained))
        values = free - row * (free.sum() - (whole - empty)) / row.sum()
        if self._exact:
            return values, np.zeros(self.count)
        pairs = len(masks) // 2
        if pairs <= self.count:
            return values, np.full(self.count, np.inf)
        projected = inverse - np.outer(row, row) / row.sum()
        scores = masks * ((gained - masks @ values) * weights)[:, None]
        scores = scores[::2] + scores[1::2]  # the two of a pair are not independent
        spread = (scores - scores.mean(0)) @ projected
        return values, np.sqrt((spread**2).sum(0) * pairs / (pairs - self.count))

    def _weights(self, masks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each mask: Shapley's kernel where every set has been seen, otherwise the masks were drawn by it."""
        if not self._exact:
            return np.full(len(masks), 1 / len(masks))
        sizes = np.arange(1, self.count)
        sets = np.array([comb(self.count, int(size)) for size in sizes])
        kernel = (self.count - 1) / (sets * sizes * (self.count - sizes))
        return kernel[masks.sum(1).astype(int) - 1]
