"""Scores of an adapted network that need no target label: they choose checkpoints and hyper-parameters.

Compared in Musgrave et al., "Three New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain
Adaptation", 2022.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.adaptation.entropy import entropy
from deepscope.registry import Registered


@dataclass(frozen=True, eq=False)
class Outputs:
    """A network's outputs for held-out source images and unlabelled target images.

    Attributes:
        features, logits, labels: (N, F), (N, C) and (N,) of the source.
        target_features, target_logits: (M, F) and (M, C).
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    target_features: Tensor
    target_logits: Tensor


class Validator(Registered):
    """A score that is meant to be high where the accuracy on the target is high."""

    uses_source: ClassVar[bool] = False
    """Whether it reads outputs for source images, or features: others score the target's logits alone."""

    @abstractmethod
    def score(self, outputs: Outputs) -> float:
        """The score; higher is better."""


@dataclass(frozen=True)
class SourceAccuracy(Validator):
    """Accuracy on held-out source images."""

    uses_source: ClassVar[bool] = True

    def score(self, outputs: Outputs) -> float:
        """From 0 to 1."""
        return float((outputs.logits.argmax(1) == outputs.labels).float().mean())


@dataclass(frozen=True)
class Entropy(Validator):
    """How sure the network is of its predictions on the target: minus their mean entropy (Morerio et al. 2018)."""

    def score(self, outputs: Outputs) -> float:
        """At most 0, in nats."""
        return -float(entropy(outputs.target_logits))


@dataclass(frozen=True)
class InfoMax(Validator):
    """Certain predictions that use all classes: mutual information of image and class (Shi and Sha 2012)."""

    def score(self, outputs: Outputs) -> float:
        """From 0 to log C, in nats."""
        average = outputs.target_logits.softmax(1).mean(0)
        return float(-(average * average.clamp(min=1e-12).log()).sum() - entropy(outputs.target_logits))


@dataclass(frozen=True)
class Bnm(Validator):
    """Batch nuclear-norm: certain and diverse predictions have a large nuclear norm (Cui et al. 2020)."""

    def score(self, outputs: Outputs) -> float:
        """From 0 to 1: the norm divided by its largest value, sqrt(M min(M, C))."""
        probabilities = outputs.target_logits.softmax(1)
        largest = (len(probabilities) * min(probabilities.shape)) ** 0.5
        return float(torch.linalg.matrix_norm(probabilities.double(), "nuc")) / largest


@dataclass(frozen=True)
class ClassDiscrepancy(Validator):
    """Each predicted class of the target lies near the source's same class and far from the others (Kang et al. 2019).

    Minus the mean over classes of the squared distance of both domains' centroids of normalised features, plus the mean
    squared distance of centroids of different classes. A class that is never predicted has the largest distance.
    """

    uses_source: ClassVar[bool] = True

    def score(self, outputs: Outputs) -> float:
        """Between -4 and 4."""
        classes = outputs.logits.shape[1]
        first = _centroids(outputs.features, outputs.labels, classes)
        second = _centroids(outputs.target_features, outputs.target_logits.argmax(1), classes)
        squares = (first[:, None] - second).square().sum(2)  # cdist would not say NaN where a centroid is
        same = squares.diagonal().nan_to_num(nan=4.0)
        different = squares[~torch.eye(classes, dtype=torch.bool)].nanmean()
        return float(different.nan_to_num(nan=0.0) - same.mean())


def _centroids(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(C, F) means of the unit vectors of each class; NaN where a class has none."""
    members = functional.one_hot(labels, classes).double()
    return members.T @ functional.normalize(features.double()) / members.sum(0)[:, None]
