"""k nearest neighbours: a baseline without fitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.transfer.heads.head import Fitted, Head, best


@dataclass(frozen=True)
class NearestNeighbours(Head):
    """Votes of the k training images of highest cosine similarity, weighted by it (Cover and Hart 1967).

    The weights are exp(similarity / 0.07), as Wu et al., "Unsupervised Feature Learning via Non-Parametric
    Instance Discrimination", CVPR 2018, have it.

    Attributes:
        neighbours: values of k to choose among.
    """

    linear: ClassVar[bool] = False
    neighbours: tuple[int, ...] = (1, 3, 5, 10, 20, 50)

    def fit(self, features: Tensor, labels: Tensor, folds: Tensor | None) -> Fitted:
        """Keep the features; choose k."""
        classes = int(labels.max()) + 1
        ks = [min(k, len(labels)) for k in self.neighbours]
        if folds is None:
            return Fitted(_Votes(features, labels, ks[0]), f"k={ks[0]}", None)
        candidates = []
        for k in ks:
            scores = torch.empty(len(labels), classes)
            for fold in folds.unique():
                seen = folds != fold
                scores[~seen] = _Votes(features[seen], labels[seen], min(k, int(seen.sum())))(features[~seen])
            candidates.append(scores)
        chosen = best(ks, candidates, labels)
        return Fitted(_Votes(features, labels, ks[chosen]), f"k={ks[chosen]}", candidates[chosen])


class _Votes(nn.Module):
    known: Tensor
    votes: Tensor

    def __init__(self, features: Tensor, labels: Tensor, k: int) -> None:
        super().__init__()
        self.register_buffer("known", functional.normalize(features))
        self.register_buffer("votes", functional.one_hot(labels).float())
        self.k = k

    def forward(self, features: Tensor) -> Tensor:
        """(N, C) logarithms of the shares of the votes."""
        similarity, rows = (functional.normalize(features) @ self.known.T).topk(self.k, dim=1)
        weights = (similarity / 0.07).softmax(1)
        return ((weights[..., None] * self.votes[rows]).sum(1) + 1e-4).log()
