"""Ridge regression onto the classes: in closed form, cross-validation included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.transfer.heads.head import Fitted, Head, LeftOut, Terms, linear
from deepscope.transfer.heads.span import span
from deepscope.transfer.heads.streamed import Streamed


@dataclass(frozen=True)
class Ridge(Head):
    """Least squares onto -1 and 1 with a penalty (Hoerl and Kennard, "Ridge Regression", Technometrics 1970).

    One eigendecomposition of the Gram matrix gives every penalty's weights, and every image's score by the fit without
    it (Allen's PRESS, 1974): the penalty is chosen by leaving out one image at a time.

    Attributes:
        penalties: to choose among, strongest first.
    """

    penalties: tuple[float, ...] = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)

    def fit(self, features: Tensor, labels: Tensor, folds: Tensor | None) -> Fitted:
        """The closed form at the chosen penalty."""
        features = features.double()
        coordinates, basis = span(features)  # with fewer images than dimensions
        found = self.fit_streamed(Streamed.of(coordinates, labels), folds)
        if basis is None:
            return found
        layer = found.scores
        assert isinstance(layer, nn.Linear)
        return replace(found, scores=linear(layer.weight.double() @ basis.T, layer.bias))

    def fit_streamed(self, features: Streamed, folds: Tensor | None) -> Fitted:
        """Two passes over the features: their Gram matrix, and the scores of each image by the fits without it."""
        solved = Solved.of(features, self.penalties)
        if folds is None:
            middle = len(self.penalties) // 2
            return Fitted(solved.layer(middle), f"penalty={self.penalties[middle]:g}", None, self.penalties[middle])
        chosen, kept = solved.best(features)
        penalty = self.penalties[chosen]
        return Fitted(solved.layer(chosen), f"penalty={penalty:g}", kept, penalty)

    def left_out(self, features: Streamed, folds: Tensor) -> LeftOut:
        """The scores of each image by the fit to all others; `folds` are not needed."""
        del folds
        solved = Solved.of(features, self.penalties)
        chosen, kept = solved.best(features)
        alone = replace(solved, shrunk=solved.shrunk[chosen : chosen + 1])

        def blocks() -> Iterator[tuple[slice, Tensor]]:
            for rows, x in features.blocks():
                (scores,) = alone.without_each(x, features.labels[rows])
                yield rows, scores.float()

        return LeftOut(kept, blocks)

    @classmethod
    def terms(cls, scores: Tensor, labels: Tensor, regularisation: float) -> Terms:
        """Residuals over the penalty."""
        targets = functional.one_hot(labels, scores.shape[1]).to(scores) * 2 - 1
        curvature = torch.full_like(scores, 1 / regularisation)
        return Terms((targets - scores) / regularisation, curvature, "centred")


@dataclass(frozen=True)
class Solved:
    """The fits of all penalties.

    Attributes:
        mean: (D,) of the features.
        offset: (C,) mean of the targets.
        vectors: (D, D) eigenvectors of the centred features' Gram matrix.
        shrunk: (P, D) one over eigenvalue plus penalty.
        projected: (D, C) the features' products with the targets, along the eigenvectors.
        share: of one image in a mean.
    """

    mean: Tensor
    offset: Tensor
    vectors: Tensor
    shrunk: Tensor
    projected: Tensor
    share: float

    @classmethod
    def of(cls, features: Streamed, penalties: Sequence[float]) -> Solved:
        """One pass. Features are first moved by the mean of their first block: squares then lose no digits."""
        count, classes = len(features), features.classes
        near: Tensor | None = None
        gram, sums = torch.zeros(()), torch.zeros(())
        for rows, x in features.blocks():
            if near is None:
                near = x.mean(0)
                sums = x.new_zeros(classes, x.shape[1])
            x = x - near
            gram = gram + x.T @ x
            sums.index_add_(0, features.labels[rows], x)
        assert near is not None
        shift = sums.sum(0) / count
        offset = 2 * features.labels.bincount(minlength=classes).double() / count - 1
        products = 2 * sums.T - sums.sum(0)[:, None] - count * torch.outer(shift, offset)
        values, vectors = torch.linalg.eigh(gram - count * torch.outer(shift, shift))
        shrunk = 1 / (values.clamp(min=0) + torch.tensor(penalties, dtype=torch.float64)[:, None])
        return cls(near + shift, offset, vectors, shrunk, vectors.T @ products, 1 / count)

    def weights(self, place: int) -> tuple[Tensor, Tensor]:
        """(C, D) weights and (C,) intercepts of a penalty."""
        weight = (self.vectors @ (self.shrunk[place][:, None] * self.projected)).T
        return weight, self.offset - weight @ self.mean

    def layer(self, place: int) -> nn.Linear:
        """The same as a layer."""
        return linear(*self.weights(place))

    def without_each(self, x: Tensor, labels: Tensor) -> Iterator[Tensor]:
        """For each penalty the (n, C) scores of training images, each by the fit without it."""
        along = (x - self.mean) @ self.vectors
        targets = functional.one_hot(labels, len(self.offset)).double() * 2 - 1
        for shrunk in self.shrunk:
            residuals = targets - (along @ (shrunk[:, None] * self.projected) + self.offset)
            leverage = along.square() @ shrunk + self.share
            yield targets - residuals / (1 - leverage)[:, None]

    def best(self, features: Streamed) -> tuple[int, Tensor]:
        """One pass: the penalty of the highest accuracy without each image, and its (n, C) scores of the sample."""
        right = torch.zeros(len(self.shrunk), dtype=torch.long)
        kept, filled = torch.empty(len(self.shrunk), len(features.sample), features.classes), 0  # no heap of pieces
        for rows, x in features.blocks():
            labels, sample = features.labels[rows], features.sample_in(rows) - rows.start
            for place, scores in enumerate(self.without_each(x, labels)):
                right[place] += (scores.argmax(1) == labels).sum()
                kept[place, filled : filled + len(sample)] = scores[sample].float()
            filled += len(sample)
        chosen = int(right.argmax())  # among equals the first
        return chosen, kept[chosen].clone()
