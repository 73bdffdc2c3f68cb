"""A linear head's scores as sums over its training images, and what leaving one of them out would change.

The weights of a regularised linear classifier are a weighted sum of its training vectors: the dual variables of a
support vector machine, the representer values of other losses (Yeh, Kim, Yen and Ravikumar, "Representer Point
Selection for Explaining Deep Neural Networks", NeurIPS 2018). Features in, numbers out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.errors import DataError
from deepscope.transfer.heads import Terms

_SAME = 0.05
"""Relative distance between a head's weights and the sum over the images above which it was fitted to other images."""
_ROUNDS = 4
_RIDGE = 1e-9
_FREE = 1e5


@dataclass(frozen=True, eq=False)
class Representers:
    """A linear head on N training images in C classes.

    Attributes:
        vectors: (N, D) float64: what the weights are a sum of.
        centre: (D',) what is subtracted from features.
        coefficients: (N, C) the weights of the sum.
        curvature: (N, C) of each image's loss.
        offset: (C,) the part of a score that comes from no image.
        residual: how far the weights are from the sum before rounding and the solver's tolerance were corrected.
        constant: whether vectors end with a 1 for the intercept.
    """

    vectors: Tensor
    centre: Tensor
    coefficients: Tensor
    curvature: Tensor
    offset: Tensor
    residual: float
    constant: bool

    @classmethod
    def of(cls, features: Tensor, weight: Tensor, bias: Tensor, terms: Terms) -> Representers:
        """The sum for a head's weights.

        What the solver's tolerance and rounding left is spread over the images, as little of it as makes the sum exact.

        Args:
            features: (N, D) float64 training features.
            weight, bias: (C, D) and (C,) float64.
            terms: of the head's objective at these weights.

        Raises:
            DataError: the weights are no such sum: the images are not those that the head was fitted to.
        """
        centre = features.mean(0) if terms.intercept == "centred" else torch.zeros_like(features[0])
        vectors, target = features - centre, weight.T
        offset = bias + weight @ centre
        constant = terms.intercept == "weight"
        if constant:
            vectors, target = functional.pad(vectors, (0, 1), value=1.0), torch.cat([target, bias[None]])
            offset = torch.zeros_like(bias)
        missing = target - vectors.T @ terms.coefficients
        residual = float(missing.norm() / target.norm().clamp(min=1e-30))
        if not residual <= _SAME:
            raise DataError(
                "these are not the images that the classifier was fitted to, or their classes have changed: its "
                f"weights differ from the sum over them by {100 * residual:.0f} %"
            )
        coefficients = terms.coefficients + _corrections(vectors, missing)
        return cls(vectors, centre, coefficients, terms.curvature, offset, residual, constant)

    def inner(self, queries: Tensor) -> Tensor:
        """(Q, N) inner products of (Q, D) features with the training vectors."""
        return self._extended(queries) @ self.vectors.T

    def shares(self, queries: Tensor, classes: Tensor) -> Tensor:
        """(Q, N) what each training image adds to the score of a class; with the class's offset they sum to it.

        Args:
            queries: (Q, D) float64 features.
            classes: (Q,) int64.
        """
        return self.inner(queries) * self.coefficients.T[classes]

    def effects(self, queries: Tensor, classes: Tensor) -> Tensor:
        """(Q, N) the score of a class less what it would be, had the head been fitted without each training image.

        One Newton step from the head's minimum, with each image's loss taken out of the Hessian. It is exact for a
        support vector machine with squared hinge loss as long as no other image enters or leaves the margin, and for
        ridge regression; otherwise an approximation, which leaves out that the classes of logistic regression compete.
        """
        found = torch.zeros(len(queries), len(self.vectors), dtype=torch.float64)
        inner = self.inner(queries) + self.free
        for label in classes.unique().tolist():
            rows = (classes == label).nonzero()[:, 0]
            held = (self.curvature[:, label] > 0).nonzero()[:, 0]  # the others have no part in the weights
            root = self.curvature[held, label].sqrt()
            vectors = self.vectors[held] * root[:, None]
            kernel = vectors @ vectors.T + self.free * root[:, None] * root
            factor = torch.linalg.cholesky(kernel + torch.eye(len(held), dtype=torch.float64))
            # kernel and queries seen through the inverse Hessian: K - K (I + K)^-1 K = I - (I + K)^-1
            leverage = 1 - torch.cholesky_inverse(factor).diagonal()
            seen = torch.cholesky_solve((inner[rows][:, held] * root).T, factor).T / root
            change = self.coefficients[held, label] * seen / (1 - leverage).clamp(min=1e-12)
            found[rows[:, None], held] = change
        return found

    @property
    def free(self) -> float:
        """What a free intercept adds to inner products: the weight of a feature that regularisation hardly reaches."""
        return 0.0 if self.constant else _FREE

    def _extended(self, queries: Tensor) -> Tensor:
        centred = queries - self.centre
        return functional.pad(centred, (0, 1), value=1.0) if self.constant else centred


def _corrections(vectors: Tensor, missing: Tensor) -> Tensor:
    """(N, C) coefficients of the smallest norm whose sum over the (N, D) vectors is (D, C) `missing`, where one is."""
    wide = len(vectors) <= vectors.shape[1]
    inner = vectors @ vectors.T if wide else vectors.T @ vectors
    inner.diagonal().add_(_RIDGE * inner.diagonal().mean().clamp(min=1e-30))
    factor = torch.linalg.cholesky(inner)
    found = torch.zeros(len(vectors), missing.shape[1], dtype=vectors.dtype)
    for _ in range(_ROUNDS):
        left = missing - vectors.T @ found
        found += torch.cholesky_solve(vectors @ left, factor) if wide else vectors @ torch.cholesky_solve(left, factor)
    return found
