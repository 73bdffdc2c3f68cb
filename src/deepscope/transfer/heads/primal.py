"""A linear SVM on streamed features: LinearSVC's objective, minimised over its weights.

Newton's method with conjugate gradients on |w|² / 2 + C Σ max(0, 1 - y w·x)² for one class against the rest, all
classes at once (Lin, Weng and Keerthi, "Trust Region Newton Method for Large-Scale Logistic Regression", JMLR 2008; the
primal solver of LIBLINEAR for this loss is such a method). The features' Gram matrix is the preconditioner: where a
share p of the images is within the margin, the Hessian is nearly 1 + 2C p Σ x xᵀ, and a step takes only a few passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.transfer.heads.streamed import Streamed

_STEPS, _INNER = 100, 60
_ENOUGH = 1e-3
"""Residual of a step, relative to the gradient."""
_LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.02)


def solve(features: Streamed, cost: float, *, tolerance: float = 1e-10) -> Tensor:
    """(D + 1, C) float64 weights, the last row of them the intercepts, which are regularised as in LIBLINEAR.

    Args:
        features: of the training images.
        cost: LinearSVC's C.
        tolerance: norm of the gradient, or of the last step, relative to that of the weights, for each class.
    """
    problem = _Problem.of(features, cost)
    weights = problem.vectors.new_zeros(len(problem.vectors), features.classes)
    open_ = torch.arange(features.classes)
    for _ in range(_STEPS):
        gradient, share = problem.gradient(weights, open_)
        unsolved = gradient.norm(dim=0) > tolerance * weights[:, open_].norm(dim=0)
        open_ = open_[unsolved]
        if not len(open_):
            break
        step = problem.step(weights, open_, -gradient[:, unsolved], share[unsolved])
        step *= problem.lengths(weights, open_, step)
        weights[:, open_] += step
        open_ = open_[step.norm(dim=0) > tolerance * weights[:, open_].norm(dim=0)]
    return weights


@dataclass(frozen=True)
class _Problem:
    """The objective.

    Attributes:
        features: of the training images.
        cost: C.
        values, vectors: the Gram matrix's eigenvalues and eigenvectors, the constant feature included.
    """

    features: Streamed
    cost: float
    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, features: Streamed, cost: float) -> _Problem:
        gram = torch.zeros(())
        for _, x in features.blocks():
            x = _with_ones(x)
            gram = gram + x.T @ x
        values, vectors = torch.linalg.eigh(gram)
        return cls(features, cost, values.clamp(min=0), vectors)

    def _signs(self, rows: slice, classes: Tensor) -> Tensor:
        """(n, K) 1 where an image is of the class, else -1."""
        return (self.features.labels[rows, None] == classes).double() * 2 - 1

    def gradient(self, weights: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """(D + 1, K), and the share of the images within the margin."""
        w = weights[:, classes]
        found, share = w.clone(), w.new_zeros(len(classes))
        for rows, x in self.features.blocks():
            x, y = _with_ones(x), self._signs(rows, classes)
            slack = (1 - y * (x @ w)).clamp(min=0)
            found -= 2 * self.cost * (x.T @ (y * slack))
            share += (slack > 0).sum(0)
        return found, share / len(self.features)

    def step(self, weights: Tensor, classes: Tensor, right: Tensor, share: Tensor) -> Tensor:
        """The Hessian's inverse times `right`, by conjugate gradients."""
        w = weights[:, classes]
        scale = 1 / (1 + 2 * self.cost * share * self.values[:, None])
        solution, residual = torch.zeros_like(right), right.clone()
        target = _ENOUGH * right.norm(dim=0)
        easy = self.vectors @ (scale * (self.vectors.T @ residual))
        direction, squared = easy.clone(), (residual * easy).sum(0)
        for _ in range(_INNER):
            if (residual.norm(dim=0) <= target).all():
                break
            product = direction.clone()
            for rows, x in self.features.blocks():
                x = _with_ones(x)
                margins, change = (x @ torch.cat([w, direction], 1)).chunk(2, 1)
                within = self._signs(rows, classes) * margins < 1
                product += 2 * self.cost * (x.T @ (within * change))
            length = squared / (direction * product).sum(0).clamp(min=1e-300)
            solution += length * direction
            residual -= length * product
            easy = self.vectors @ (scale * (self.vectors.T @ residual))
            fresh = (residual * easy).sum(0)
            direction = easy + fresh / squared.clamp(min=1e-300) * direction
            squared = fresh
        return solution

    def lengths(self, weights: Tensor, classes: Tensor, step: Tensor) -> Tensor:
        """(K,) the best of a few lengths of each step."""
        w, lengths = weights[:, classes], weights.new_tensor(_LENGTHS)
        values = (w[None] + lengths[:, None, None] * step).square().sum(1) / 2
        for rows, x in self.features.blocks():
            x, y = _with_ones(x), self._signs(rows, classes)
            margins, change = (x @ torch.cat([w, step], 1)).chunk(2, 1)
            for place, length in enumerate(_LENGTHS):
                values[place] += self.cost * (1 - y * (margins + length * change)).clamp(min=0).square().sum(0)
        return lengths[values.argmin(0)]


def _with_ones(x: Tensor) -> Tensor:
    return functional.pad(x, (0, 1), value=1.0)
