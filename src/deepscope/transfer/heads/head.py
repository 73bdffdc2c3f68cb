"""`Head`: the family of classifiers on feature vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from deepscope.errors import UnsupportedError
from deepscope.registry import Registered
from deepscope.transfer.heads.streamed import Streamed


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head after fitting.

    Attributes:
        scores: (N, D) features -> (N, C) scores, the highest of which is the prediction. A linear head's is an
            `nn.Linear`, which can become the last layer of a network.
        setting: description of what cross-validation chose; empty where there was no choice.
        out_of_fold: (N, C) scores of the training images, each by a fit that did not see it; None without folds. Of
            streamed features those of their `sample`.
        regularisation: the strength that was chosen, as a number; NaN where the head has none.
    """

    scores: nn.Module
    setting: str
    out_of_fold: Tensor | None
    regularisation: float = float("nan")

    def accuracy_out_of_fold(self, labels: Tensor) -> float:
        """The cross-validated accuracy; NaN without folds."""
        if self.out_of_fold is None:
            return float("nan")
        return (self.out_of_fold.argmax(1) == labels).float().mean().item()


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Scores of each of N images by a fit that did not see it.

    Attributes:
        sample: (n, C) of the features' sample.
        blocks: gives all of them: rows and their (n, C) scores, in order.
    """

    sample: Tensor
    blocks: Callable[[], Iterator[tuple[slice, Tensor]]]


@dataclass(frozen=True, eq=False)
class Terms:
    """A linear head's weights as a sum over its training images: w_c = sum over i of coefficients_ic x_i.

    Attributes:
        coefficients: (N, C) minus the derivative of an image's loss by its own score, over the regularisation.
        curvature: (N, C) the second derivative, over the regularisation.
        intercept: "weight" where it is regularised like a weight of a constant feature, "free" where it is not
            regularised, "centred" where features were centred in its place.
    """

    coefficients: Tensor
    curvature: Tensor
    intercept: Literal["weight", "free", "centred"]


class Head(Registered):
    """A classifier on feature vectors that have been normalised to norms of about 1."""

    linear: ClassVar[bool] = True
    """Whether its scores are an `nn.Linear`, which can become the last layer of a network."""

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor, folds: Tensor | None) -> Fitted:
        """Fit, choosing regularisation by cross-validation.

        Args:
            features: (N, D) float32 training features.
            labels: (N,) int64, every class from 0 to C - 1 among them.
            folds: (N,) the fold that each image is left out in; None where a class has a single image: then
                the head's middle setting is used.
        """

    def fit_streamed(self, features: Streamed, folds: Tensor | None) -> Fitted:
        """As `fit`, on features of which memory holds a block at a time.

        Args:
            features: (N, D) with their labels.
            folds: (n,) of their sample; None where a class has a single image.

        Raises:
            UnsupportedError: the head needs all features at once.
        """
        del features, folds
        self.require_streamed()
        raise NotImplementedError

    @classmethod
    def require_streamed(cls) -> None:
        """Raises UnsupportedError where the head needs all features at once, and `fit_streamed` cannot be called."""
        able = [name for name, member in Head.members().items() if member.fit_streamed is not Head.fit_streamed]
        if cls.name not in able:
            text = f"{cls.name} needs the features of all images at once: choose {' or '.join(able)}"
            raise UnsupportedError(text, what="head")

    def left_out(self, features: Streamed, folds: Tensor) -> LeftOut:
        """Scores of every image by a fit that did not see it, of features of which memory holds a block at a time.

        The head is fitted to the sample: an image of the sample is left out with its fold, and the fit to the whole
        sample has seen none of the others.

        Args:
            features: (N, D) with their labels.
            folds: (n,) of their sample.
        """
        fitted = self.fit(features.sampled(), features.labels[features.sample], folds)
        own = fitted.out_of_fold
        assert own is not None

        def blocks() -> Iterator[tuple[slice, Tensor]]:
            done = 0
            for rows, x in features.blocks():
                with torch.no_grad():
                    scores = fitted.scores(x.float())
                places = features.sample_in(rows) - rows.start
                scores[places] = own[done : done + len(places)].to(scores)
                done += len(places)
                yield rows, scores

        return LeftOut(own, blocks)

    @classmethod
    def terms(cls, scores: Tensor, labels: Tensor, regularisation: float) -> Terms | None:
        """What each training image contributes to the weights at the minimum of the head's objective.

        Args:
            scores: (N, C) float64, of the training images.
            labels: (N,) int64.
            regularisation: as in `Fitted`.

        Returns:
            None where the head's weights are no sum over images.
        """
        return None


def folds_of(labels: Tensor, *, seed: int, most: int = 5) -> Tensor | None:
    """(N,) stratified folds, as many as the smallest class has images but at most `most`; None below two."""
    from sklearn.model_selection import StratifiedKFold

    count = min(most, int(labels.bincount().min()))
    if count < 2:
        return None
    folds = torch.empty(len(labels), dtype=torch.long)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(splitter.split(np.zeros(len(labels)), labels.numpy())):
        folds[torch.from_numpy(rows)] = number
    return folds


def best(settings: Sequence[float], out_of_fold: Sequence[Tensor], labels: Tensor) -> int:
    """The index of the setting with the highest accuracy; among equals the first, so list the simplest first."""
    accuracies = [(scores.argmax(1) == labels).float().mean().item() for scores in out_of_fold]
    assert len(accuracies) == len(settings)
    return int(np.argmax(accuracies))


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A float32 `nn.Linear` of (C, D) weight and (C,) bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return layer.requires_grad_(False)
