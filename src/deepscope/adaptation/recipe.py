"""How a network is built and trained, for every method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer

from deepscope.adaptation.adaptation import Adaptation
from deepscope.adaptation.augmentation import Augmentation
from deepscope.adaptation.domain_norm import Statistics
from deepscope.adaptation.gradient_reversal import inverse_decay
from deepscope.adaptation.networks import DigitNetwork, FeatureNetwork
from deepscope.errors import SettingError
from deepscope.models.classifier import View
from deepscope.training import cosine_decay


@dataclass(frozen=True)
class Recipe:
    """Network and optimiser; the same for every method that is compared.

    Attributes:
        epochs: passes over the larger domain.
        batch_size: images of each domain per step.
        optimiser: "sgd" has momentum 0.9 and the rate rate / (1 + 10 p)^0.75; "adam" has cosine decay.
        rate: learning rate at the start.
        statistics: of batch normalisation; "none" disables it.
        dropout: share of activations that are set to zero.
        centre: subtract each domain's own mean from its inputs.
        augmentation: of images of both domains; None disables it.
        partial: the target may lack classes: an image of the source counts by how often the target's predictions name
            its class (Cao et al. 2018).
    """

    epochs: int = 24
    batch_size: int = 128
    optimiser: Literal["sgd", "adam"] = "adam"
    rate: float = 2e-3
    statistics: Statistics = "domain"
    dropout: float = 0.1
    centre: bool = True
    augmentation: Augmentation | None = Augmentation()
    partial: bool = False

    def require_trainable(self) -> None:
        """Raises SettingError where this trains nothing; batch normalisation needs two images."""
        if self.epochs < 1:
            raise SettingError("epochs", "must be at least 1", got=self.epochs)
        if self.batch_size < 2:
            raise SettingError("batch_size", "must be at least 2", got=self.batch_size)

    def digit_network(self, method: Adaptation) -> DigitNetwork:
        """A fresh network for digits. Where no target passes through it, there are no statistics of the target's."""
        seen = "batch" if self.statistics == "domain" and not method.uses_target else self.statistics
        return DigitNetwork(seen, self.dropout, centre=self.centre)

    def feature_network(self, inputs: int, classes: int, method: Adaptation) -> FeatureNetwork:
        """A fresh network for a pretrained one's features. Without adaptation the source's statistics hold for both."""
        return FeatureNetwork(inputs, classes, dropout=self.dropout, centre=self.centre and method.uses_target)

    def optimise(self, *networks: nn.Module) -> Optimizer:
        """The optimiser of all their parameters that are trained."""
        parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
        if self.optimiser == "sgd":
            return torch.optim.SGD(parameters, self.rate, momentum=0.9, fused=True)
        return torch.optim.Adam(parameters, self.rate, fused=True)

    @property
    def views(self) -> tuple[View, ...]:
        """Views of an image over which an adapted network of digits may average: the augmentations of training."""
        return self.augmentation.views if self.augmentation else (View(),)

    @property
    def decay(self) -> Callable[[float], float]:
        """The factor of the learning rate at each progress of the training."""
        return inverse_decay if self.optimiser == "sgd" else cosine_decay


PAPER = Recipe(
    epochs=40,
    batch_size=64,
    optimiser="sgd",
    rate=0.01,
    statistics="none",
    dropout=0.0,
    centre=True,
    augmentation=None,
)
"""Ganin and Lempitsky (2015): no normalisation but the domains' means, no augmentation, 64 + 64 images per step."""
