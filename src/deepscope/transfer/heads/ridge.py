"""Ridge regression onto the classes: in closed form, cross-validation included."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.transfer.heads.head import Fitted, Head, Terms, best, linear


@dataclass(frozen=True)
class Ridge(Head):
    """Least squares onto -1 and 1 with a penalty (Hoerl and Kennard, "Ridge Regression", Technometrics 1970).

    One eigendecomposition gives every penalty's weights, and every image's score by the fit without it (Allen's
    PRESS, 1974): the penalty is chosen by leaving out one image at a time.

    Attributes:
        penalties: to choose among, strongest first.
    """

    penalties: tuple[float, ...] = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)

    def fit(self, features: Tensor, labels: Tensor, folds: Tensor | None) -> Fitted:
        """The closed form at the chosen penalty."""
        classes = int(labels.max()) + 1
        targets = functional.one_hot(labels, classes).double() * 2 - 1
        x, mean_x, mean_y = features.double(), features.double().mean(0), targets.mean(0)
        x, y = x - mean_x, targets - mean_y
        values, vectors = torch.linalg.eigh(x @ x.T)
        projected = vectors.T @ y
        fits, candidates = [], []
        for penalty in self.penalties:
            shrunk = 1 / (values.clamp(min=0) + penalty)
            dual = vectors @ (shrunk[:, None] * projected)
            inverse_diagonal = (vectors.square() * shrunk).sum(1) - 1 / (penalty * len(x))  # the intercept's share
            weight = dual.T @ x
            fits.append(linear(weight, mean_y - weight @ mean_x))
            candidates.append((targets - dual / inverse_diagonal[:, None]).float())
        if folds is None:
            middle = len(self.penalties) // 2
            return Fitted(fits[middle], f"penalty={self.penalties[middle]:g}", None, self.penalties[middle])
        chosen = best(self.penalties, candidates, labels)
        penalty = self.penalties[chosen]
        return Fitted(fits[chosen], f"penalty={penalty:g}", candidates[chosen], penalty)

    @classmethod
    def terms(cls, scores: Tensor, labels: Tensor, regularisation: float) -> Terms:
        """Residuals over the penalty."""
        targets = functional.one_hot(labels, scores.shape[1]).to(scores) * 2 - 1
        curvature = torch.full_like(scores, 1 / regularisation)
        return Terms((targets - scores) / regularisation, curvature, "centred")
