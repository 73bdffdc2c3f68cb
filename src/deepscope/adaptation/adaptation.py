"""`Adaptation`: the family of methods that adapt a classifier to a domain without labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from deepscope.adaptation.networks import DomainNetwork
from deepscope.registry import EVERY_COMMAND, Registered
from deepscope.training import Moment


@dataclass(frozen=True)
class View:
    """One domain's part of a batch and the output of the network for it.

    Attributes:
        inputs: (N, ...) what the network takes.
        features: (N, F), in which the domains are to become alike.
        logits: (N, C).
    """

    inputs: Tensor
    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Seen:
    """The inputs of a method's loss. It holds no labels of the target.

    Attributes:
        network: in train mode, for methods that run it again.
        source: labelled images.
        target: images without labels.
        labels: (N,) the source's classes.
        weak: (M, ...) the target's inputs after weak augmentation: shifted, but not distorted.
        moment: progress and random numbers.
        weights: (N,) how much each image of the source counts, at most 1; None where all count alike.
    """

    network: DomainNetwork
    source: View
    target: View
    labels: Tensor
    weak: Tensor
    moment: Moment
    weights: Tensor | None = None


class Adaptation(Registered):
    """What a method adds to the cross-entropy on the source. It holds settings; the caller keeps what it trains."""

    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND | {
        "epochs",
        "model",
        "partial",
        "recipe",
        "source",
        "target",
        "tensorboard",
        "validator",
        "views",
    }
    uses_target: ClassVar[bool] = True
    """Whether target images pass through the network at all."""

    def begin(self, network: DomainNetwork) -> nn.Module:
        """What the method trains or remembers beside the network; nothing by default."""
        del network
        return nn.Module()

    @abstractmethod
    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """A scalar to add to the source's loss, and scalar figures to record.

        Args:
            seen: the batch.
            own: what `begin` made.
        """

    def further(self, seen: Seen, own: nn.Module) -> Iterator[Tensor]:
        """Losses to descend one after another when `loss` has been; none by default.

        The network is updated before the next one is computed. A loss changes only what its gradient reaches.
        """
        del seen, own
        return iter(())

    def after(self, network: DomainNetwork, own: nn.Module, moment: Moment) -> None:
        """Called when the step is done: updates moving averages."""

    def result(self, network: DomainNetwork, own: nn.Module) -> DomainNetwork:
        """The network to use: the trained one, or a moving average of it."""
        del own
        return network


def nothing(seen: Seen) -> Tensor:
    """A loss of zero, on the right device."""
    return torch.zeros((), device=seen.labels.device)
