"""Parts of activations by non-negative factorisation, and their importance by total Sobol indices."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.quasirandom import SobolEngine

_ITERATIONS = 400


@dataclass(frozen=True, eq=False)
class Factors:
    """k directions of which activations are sums with coefficients of 0 or more.

    Attributes:
        bank: (k, C) directions, non-negative, of unit length.
        floor: (C,) what was subtracted from the activations first: 0 where none is negative.
        explained: share of the activations' sum of squares, above the floor, that the factors explain.
        machine: scikit-learn's NMF, fitted.
        lengths: (k,) of the directions before they were scaled.
    """

    bank: NDArray[np.float32]
    floor: NDArray[np.float32]
    explained: float
    machine: Any
    lengths: NDArray[np.float32]

    def coefficients(self, activations: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, C) activations -> (n, k)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it would improve in further iterations
            found = self.machine.transform(np.maximum(activations - self.floor, 0))
        return (found * self.lengths).astype(np.float32)


def factorise(activations: NDArray[np.float32], concepts: int, *, seed: int) -> Factors:
    """Non-negative matrix factorisation (Lee and Seung 1999) of (n, C) activations into `concepts` parts.

    Where some are negative, each channel is shifted by its lowest value first.
    """
    from sklearn.decomposition import NMF

    lowest = activations.min(0)
    floor = np.minimum(lowest, 0) if (lowest < 0).any() else np.zeros_like(lowest)
    shifted = activations - floor
    settings: Any = {"n_components": concepts, "init": "nndsvda", "max_iter": _ITERATIONS, "random_state": seed}
    machine: Any = NMF(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ConvergenceWarning: a few hundred iterations are near enough
        made = machine.fit_transform(shifted)
    lengths = np.linalg.norm(machine.components_, axis=1)
    bank = machine.components_ / np.maximum(lengths, 1e-12)[:, None]
    total = float(np.square(shifted).sum())
    left = float(np.square(shifted - made @ machine.components_).sum())
    explained = 1 - left / total if total else 0.0
    return Factors(bank.astype(np.float32), floor, explained, machine, lengths.astype(np.float32))


def total_indices(
    score: Callable[[NDArray[np.float32]], NDArray[Any]], variables: int, *, designs: int, seed: int
) -> NDArray[np.float64]:
    """(variables,) total Sobol indices of a function of independent variables, uniform in [0, 1].

    The share of the function's variance that is left where all other variables are known. Jansen's estimator (Jansen
    1999, "Analysis of variance designs for model output") on a scrambled Sobol sequence.

    Args:
        score: (M, variables) points -> (M,) values.
        variables: how many.
        designs: points of each of the two designs: a power of 2; the function is computed designs x (variables + 2)
            times.
        seed: of the scrambling.
    """
    drawn = SobolEngine(2 * variables, scramble=True, seed=seed).draw(designs, dtype=torch.float64).numpy()
    one, other = drawn[:, :variables], drawn[:, variables:]
    mixed = np.repeat(one[None], variables, 0)
    for variable in range(variables):
        mixed[variable, :, variable] = other[:, variable]
    points = np.concatenate([one, other, mixed.reshape(-1, variables)]).astype(np.float32)
    values = np.asarray(score(points), np.float64)
    base, changed = values[:designs], values[2 * designs :].reshape(variables, designs)
    variance = values[: 2 * designs].var()
    if variance <= 1e-12 * max(1.0, float(np.square(values).mean())):
        return np.zeros(variables)
    return np.square(changed - base).mean(1) / (2 * variance)
