"""What an attack is after: any other class, or one class in particular."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Goal(ABC):
    """What counts as success, one row an image; every figure grows as the goal comes nearer.

    Attributes:
        classes: (N,) the class to leave or to reach.
    """

    classes: Tensor

    def __getitem__(self, rows: Tensor) -> Goal:
        """The goal of those rows (n,), for batches that shrink as images finish."""
        return replace(self, classes=self.classes[rows])

    def to(self, device: torch.device) -> Goal:
        """The same goal on another device."""
        return replace(self, classes=self.classes.to(device))

    @abstractmethod
    def reached(self, logits: Tensor) -> Tensor:
        """(N,) whether the prediction, the largest of (N, C) logits, is what the goal wants."""

    @abstractmethod
    def logit(self, logits: Tensor) -> Tensor:
        """(N,) the target's logit, or the true class's with its sign turned."""

    @abstractmethod
    def cross_entropy(self, logits: Tensor) -> Tensor:
        """(N,) the true class's cross-entropy, or the target's with its sign turned."""

    @abstractmethod
    def margin(self, logits: Tensor) -> Tensor:
        """(N,) the logit that should be largest less the best of the others: above 0 where the goal is reached."""

    def scaled_margin(self, logits: Tensor) -> Tensor:
        """(N,) the margin over a difference of leading logits, so that no rescaling of logits changes it.

        The difference of logits ratio of Croce and Hein 2020: the largest less the third for any other class, less the
        mean of third and fourth for a target. Networks of fewer classes use the last they have. Of two classes the
        ratio is the same everywhere: there it is the margin itself.
        """
        if logits.shape[1] < 3:
            return self.margin(logits)
        top = logits.topk(min(4, logits.shape[1]), dim=1).values
        third, fourth = top[:, min(2, top.shape[1] - 1)], top[:, -1]
        lower = third if isinstance(self, Untargeted) else (third + fourth) / 2
        return self.margin(logits) / (top[:, 0] - lower + 1e-12)


class Untargeted(Goal):
    """Any class but the true one, which `classes` holds."""

    def reached(self, logits: Tensor) -> Tensor:
        """(N,) whether the prediction is another class."""
        return logits.argmax(1) != self.classes

    def logit(self, logits: Tensor) -> Tensor:
        """(N,) minus the true class's logit."""
        return -_of(self.classes, logits)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """(N,) the true class's cross-entropy."""
        return _cross_entropy(self.classes, logits)

    def margin(self, logits: Tensor) -> Tensor:
        """(N,) the best other logit less the true class's."""
        return _best_but(self.classes, logits) - _of(self.classes, logits)


class Targeted(Goal):
    """One class in particular, which `classes` holds."""

    def reached(self, logits: Tensor) -> Tensor:
        """(N,) whether the prediction is the target."""
        return logits.argmax(1) == self.classes

    def logit(self, logits: Tensor) -> Tensor:
        """(N,) the target's logit."""
        return _of(self.classes, logits)

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """(N,) minus the target's cross-entropy."""
        return -_cross_entropy(self.classes, logits)

    def margin(self, logits: Tensor) -> Tensor:
        """(N,) the target's logit less the best other."""
        return _of(self.classes, logits) - _best_but(self.classes, logits)


def _cross_entropy(classes: Tensor, logits: Tensor) -> Tensor:
    """(N,) as PyTorch's, but with an exact gradient where the class leads by far, of which softmax - 1 leaves 0."""
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, classes[:, None], True)
    return functional.softplus(logits.masked_fill(own, -torch.inf).logsumexp(1) - _of(classes, logits))


def _of(classes: Tensor, logits: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _best_but(classes: Tensor, logits: Tensor) -> Tensor:
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, classes[:, None], True)
    return logits.masked_fill(own, -torch.inf).amax(1)
