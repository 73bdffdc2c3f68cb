"""Multinomial logistic regression: a linear head that is fitted to give probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.transfer.heads.head import Fitted, Head, Terms, best, linear
from deepscope.transfer.heads.span import span


@dataclass(frozen=True)
class LogisticRegression(Head):
    """Multinomial logistic regression (Cox, "The regression analysis of binary sequences", JRSS B 1958).

    Attributes:
        costs: values of C, the inverse of the regularisation's strength, to choose among.
    """

    costs: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0)

    def fit(self, features: Tensor, labels: Tensor, folds: Tensor | None) -> Fitted:
        """Fit with scikit-learn at the chosen C."""
        coordinates, basis = span(features)
        cost, out_of_fold = self.costs[len(self.costs) // 2], None
        if folds is not None:
            candidates = [_left_out(coordinates, labels, folds, cost) for cost in self.costs]
            chosen = best(self.costs, candidates, labels)
            cost, out_of_fold = self.costs[chosen], candidates[chosen]
        layer = _fit(coordinates, labels, cost)
        if basis is not None:
            layer = linear(layer.weight @ basis.T, layer.bias)
        return Fitted(layer, f"C={cost:g}", out_of_fold, cost)

    @classmethod
    def terms(cls, scores: Tensor, labels: Tensor, regularisation: float) -> Terms:
        """Representer values: C (1 - p) for an image of the class, -C p for the others."""
        probabilities = scores.softmax(1)
        given = functional.one_hot(labels, scores.shape[1]).to(scores)
        cost = regularisation * (0.5 if scores.shape[1] == 2 else 1.0)  # of two classes each has half of the logit
        return Terms(cost * (given - probabilities), regularisation * probabilities * (1 - probabilities), "free")


def _left_out(features: Tensor, labels: Tensor, folds: Tensor, cost: float) -> Tensor:
    scores = torch.empty(len(labels), int(labels.max()) + 1)
    for fold in folds.unique():
        seen = folds != fold
        scores[~seen] = _fit(features[seen], labels[seen], cost)(features[~seen])
    return scores


def _fit(features: Tensor, labels: Tensor, cost: float) -> nn.Linear:
    from sklearn.linear_model import LogisticRegression as ScikitLogisticRegression

    model = ScikitLogisticRegression(C=cost, max_iter=2000)
    model.fit(features.double().numpy(), labels.numpy())
    weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(weight) == 1:  # two classes: scikit-learn keeps the difference of their logits
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return linear(weight, bias)
