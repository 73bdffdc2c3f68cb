"""Criteria: what counts as a success, any other class or one class in particular."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self


@dataclass(frozen=True)
class Criterion(ABC):
    """What counts as a success for each of N images. Every value grows as an image comes closer to it.

    Attributes:
        classes: (N,) the class to leave or to reach.
    """

    classes: Tensor

    def __getitem__(self, rows: Tensor) -> Self:
        """The criterion of those rows (n,), for batches that shrink as images finish."""
        return replace(self, classes=self.classes[rows])

    def to(self, device: torch.device) -> Self:
        """The same criterion on another device."""
        return replace(self, classes=self.classes.to(device))

    @abstractmethod
    def met(self, logits: Tensor) -> Tensor:
        """(N,) whether the prediction, the largest of (N, C) logits, is a success."""

    @abstractmethod
    def logit(self, logits: Tensor) -> Tensor:
        """(N,) the target's logit, or the negative of the true class's."""

    @abstractmethod
    def cross_entropy(self, logits: Tensor) -> Tensor:
        """(N,) the true class's cross-entropy, or the negative of the target's."""

    @abstractmethod
    def margin(self, logits: Tensor) -> Tensor:
        """(N,) the logit that should be the largest minus the largest of the others: positive where it is met."""

    def scaled_margin(self, logits: Tensor) -> Tensor:
        """(N,) the margin divided by a difference of leading logits, so that no rescaling of logits changes it.

        The difference of logits ratio of Croce and Hein 2020. The divisor is the largest logit minus the third for any
        other class, and minus the mean of the third and fourth for a target. Where the network has too few classes for
        that, the ratio may be constant, as between two classes: there it is the margin itself.
        """
        if logits.shape[1] < (3 if isinstance(self, Untargeted) else 4):
            return self.margin(logits)
        top = logits.topk(min(4, logits.shape[1]), dim=1).values
        third, fourth = top[:, 2], top[:, -1]
        lower = third if isinstance(self, Untargeted) else (third + fourth) / 2
        return self.margin(logits) / (top[:, 0] - lower + 1e-12)


class Untargeted(Criterion):
    """Any class but the true one, which `classes` holds."""

    def met(self, logits: Tensor) -> Tensor:
        """(N,) whether the prediction is another class."""
        return logits.argmax(1) != self.classes

    def logit(self, logits: Tensor) -> Tensor:
        """(N,) the negative of the true class's logit."""
        return -_of(self.classes, logits)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """(N,) the true class's cross-entropy."""
        return _cross_entropy(self.classes, logits)

    def margin(self, logits: Tensor) -> Tensor:
        """(N,) the largest other logit minus the true class's."""
        return _best_but(self.classes, logits) - _of(self.classes, logits)


class Targeted(Criterion):
    """One class in particular, which `classes` holds."""

    def met(self, logits: Tensor) -> Tensor:
        """(N,) whether the prediction is the target."""
        return logits.argmax(1) == self.classes

    def logit(self, logits: Tensor) -> Tensor:
        """(N,) the target's logit."""
        return _of(self.classes, logits)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """(N,) the negative of the target's cross-entropy."""
        return -_cross_entropy(self.classes, logits)

    def margin(self, logits: Tensor) -> Tensor:
        """(N,) the target's logit minus the largest other one."""
        return _of(self.classes, logits) - _best_but(self.classes, logits)


def _cross_entropy(classes: Tensor, logits: Tensor) -> Tensor:
    """(N,) as PyTorch's, but exact in its gradient where the class leads by far and softmax - 1 rounds to 0."""
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, classes[:, None], True)
    return functional.softplus(logits.masked_fill(own, -torch.inf).logsumexp(1) - _of(classes, logits))


def _of(classes: Tensor, logits: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _best_but(classes: Tensor, logits: Tensor) -> Tensor:
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, classes[:, None], True)
    return logits.masked_fill(own, -torch.inf).amax(1)
