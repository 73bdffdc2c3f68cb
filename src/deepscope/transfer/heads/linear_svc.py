"""The report's head: a linear support vector machine, one class against the rest."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.transfer.heads.head import Fitted, Head, Terms, best, linear
from deepscope.transfer.heads.primal import solve
from deepscope.transfer.heads.span import span
from deepscope.transfer.heads.squared_hinge import path
from deepscope.transfer.heads.streamed import Streamed

if TYPE_CHECKING:
    from sklearn.svm import LinearSVC as ScikitLinearSVC


@dataclass(frozen=True)
class LinearSVC(Head):
    """scikit-learn's `LinearSVC` (Fan et al., "LIBLINEAR", JMLR 2008), its C chosen by cross-validation.

    Cross-validation solves the same problems with another solver, all classes and folds at once. Where there
    are more dimensions than images, everything happens in the space that the images span, which changes nothing.

    Attributes:
        costs: values of C to choose among, for features of norm 1.
    """

    costs: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

    def fit(self, features: Tensor, labels: Tensor, folds: Tensor | None) -> Fitted:
        """One fit of scikit-learn's at the chosen C."""
        coordinates, basis = span(features)
        cost, out_of_fold = self.costs[len(self.costs) // 2], None
        if folds is not None:
            candidates = cross_validate(coordinates, labels, folds, self.costs)
            chosen = best(self.costs, candidates, labels)
            cost, out_of_fold = self.costs[chosen], candidates[chosen]
        machine = _fit(coordinates, labels, cost)
        weight, bias = torch.from_numpy(machine.coef_), torch.from_numpy(machine.intercept_)
        if len(weight) == 1:  # two classes: scikit-learn keeps one machine
            weight, bias = torch.cat([-weight, weight]), torch.cat([-bias, bias])
        if basis is not None:
            weight = weight.float() @ basis.T
        return Fitted(linear(weight, bias), f"C={cost:g}", out_of_fold, cost)

    def fit_streamed(self, features: Streamed, folds: Tensor | None) -> Fitted:
        """C is chosen on the sample, where each image counts for all that it stands for; then one fit to all images."""
        cost, out_of_fold = self.costs[len(self.costs) // 2], None
        if folds is not None:
            sampled, labels = features.sampled(), features.labels[features.sample]
            weight = len(features) / len(labels)
            candidates = cross_validate(sampled, labels, folds, tuple(weight * cost for cost in self.costs))
            chosen = best(self.costs, candidates, labels)
            cost, out_of_fold = self.costs[chosen], candidates[chosen]
        weights = solve(features, cost)
        return Fitted(linear(weights[:-1].T, weights[-1]), f"C={cost:g}", out_of_fold, cost)

    @classmethod
    def terms(cls, scores: Tensor, labels: Tensor, regularisation: float) -> Terms:
        """The dual variables, which are 0 for images outside the margin."""
        signs = functional.one_hot(labels, scores.shape[1]).to(scores) * 2 - 1
        slack = (1 - signs * scores).clamp(min=0)
        twice = 2 * regularisation
        return Terms(twice * signs * slack, twice * (slack > 0).to(scores), "weight")


def _fit(features: Tensor, labels: Tensor, cost: float) -> ScikitLinearSVC:
    """LIBLINEAR's dual solver; where that does not converge (nearly equal features, large C), its primal one."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC as ScikitLinearSVC

    x, y = features.double().numpy(), labels.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return ScikitLinearSVC(C=cost, dual=True, max_iter=20_000, random_state=0).fit(x, y)  # pyright: ignore[reportArgumentType]
        except ConvergenceWarning:
            return ScikitLinearSVC(C=cost, dual=False, max_iter=20_000, random_state=0).fit(x, y)  # pyright: ignore[reportArgumentType]


def cross_validate(features: Tensor, labels: Tensor, folds: Tensor, costs: tuple[float, ...]) -> list[Tensor]:
    """(N, C) out-of-fold scores for each C."""
    classes, count = int(labels.max()) + 1, int(folds.max()) + 1
    with_intercept = functional.pad(features.float(), (0, 1), value=1.0)
    targets = (functional.one_hot(labels, classes) * 2 - 1).to(with_intercept).repeat(1, count)
    left_out = functional.one_hot(folds, count).to(with_intercept).repeat_interleave(classes, 1)
    rows = torch.arange(len(labels))
    return [
        (with_intercept @ weights).view(len(labels), count, classes)[rows, folds]
        for weights in path(with_intercept, targets, 1 - left_out, costs, tolerance=1e-3)
    ]
