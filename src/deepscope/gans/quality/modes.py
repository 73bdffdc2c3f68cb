"""How many classes the samples cover, and how evenly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Modes:
    """Counts of each class among samples, beside how often it is expected.

    Attributes:
        counts: (K,) samples of each class.
        expected: (K,) probabilities, such as the classes' shares of the training images.
    """

    counts: NDArray[np.int64]
    expected: NDArray[np.float64]

    @classmethod
    def of(cls, found: Tensor, real: Tensor, classes: int) -> Modes:
        """From the classes that samples (N,) were recognised as, and the labels (M,) of real images."""
        expected = np.bincount(real.numpy(), minlength=classes) / len(real)
        return cls(np.bincount(found.numpy(), minlength=classes), expected)

    @property
    def covered(self) -> int:
        """Classes that at least one sample is of."""
        return int((self.counts > 0).sum())

    @property
    def kl(self) -> float:
        """Kullback-Leibler divergence of the samples' histogram from the expected one, in nats (Metz et al. 2017).

        Infinite where a class appears that was not expected at all.
        """
        seen = self.counts > 0
        shares = self.counts[seen] / self.counts.sum()
        with np.errstate(divide="ignore"):
            return float((shares * np.log(shares / self.expected[seen])).sum())

    @property
    def balance(self) -> float:
        """The rarest expected class's share of the samples over its expected share; 1 is perfect, 0 is missing."""
        known = self.expected > 0
        return float((self.counts[known] / self.counts.sum() / self.expected[known]).min())
