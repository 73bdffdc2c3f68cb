"""Conditional domain-adversarial training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.adaptation.adaptation import Adaptation, Seen
from deepscope.adaptation.class_confusion import certainty
from deepscope.adaptation.dann import weights_of_both
from deepscope.adaptation.gradient_reversal import ramp, reverse
from deepscope.adaptation.networks import DomainNetwork, full
from deepscope.settings import Count


@dataclass(frozen=True)
class Cdan(Adaptation):
    """A domain classifier on the outer product of features and class probabilities, its gradient reversed.

    Long et al., "Conditional Adversarial Domain Adaptation", NeurIPS 2018. Domains are compared within each predicted
    class, where `dann` compares them as a whole.

    Attributes:
        factor: of the reversal, at most; it rises from 0 as in `dann`.
        entropy: images with certain predictions count for more (CDAN+E).
        hidden: units of the domain classifier's one hidden layer.
        largest: numbers in the product; where there would be more, that many random ones of them stand for it.
    """

    factor: float = 1.0
    entropy: bool = True
    hidden: Count = 100
    largest: Count = 4096

    def begin(self, network: DomainNetwork) -> nn.Module:
        """The product and the domain classifier."""
        product = Product(network.width, network.classes, self.largest)
        classifier = nn.Sequential(nn.Linear(product.width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))
        return nn.ModuleDict({"product": product, "domain": classifier})

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Binary cross-entropy of the domain; also its accuracy."""
        factor, views = self.factor * ramp(seen.moment.progress), (seen.source, seen.target)
        features = torch.cat([view.features for view in views])
        probabilities = torch.cat([view.logits for view in views]).detach().softmax(1)
        joined = cast("Product", own.get_submodule("product"))(reverse(features, factor), probabilities)
        logits = full(own.get_submodule("domain")(joined)).squeeze(1)
        domains = torch.zeros_like(logits)
        domains[len(seen.source.features) :] = 1
        weights = certainty(full(probabilities)) if self.entropy else None
        if (shares := weights_of_both(seen)) is not None:
            weights = shares if weights is None else weights * shares
        loss = functional.binary_cross_entropy_with_logits(logits, domains, weights)
        right = ((logits > 0) == (domains > 0)).float()
        accuracy = (right[domains == 0].mean() + right[domains == 1].mean()) / 2
        return loss, {"loss/domain": loss, "domain/accuracy": accuracy, "domain/factor": logits.new_tensor(factor)}


class Product(nn.Module):
    """The outer product of features and probabilities as a vector, or a randomised one of a given width.

    The randomised one, (R f) * (S g) / sqrt(width) with random matrices R and S, has the same expected inner products
    (Long et al. 2018, equation 6).
    """

    features: Tensor
    probabilities: Tensor

    def __init__(self, features: int, classes: int, largest: int) -> None:
        super().__init__()
        self.width = min(features * classes, largest)
        drawn = largest if features * classes > largest else 0
        self.register_buffer("features", torch.randn(features, drawn))
        self.register_buffer("probabilities", torch.randn(classes, drawn))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """(N, F) and (N, C) -> (N, width)."""
        if self.features.numel():
            return (features @ self.features) * (probabilities.to(features) @ self.probabilities) / self.width**0.5
        return (probabilities.to(features)[:, :, None] * features[:, None]).flatten(1)
