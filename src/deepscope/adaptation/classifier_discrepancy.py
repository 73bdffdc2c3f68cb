"""Maximum classifier discrepancy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.adaptation.adaptation import Adaptation, Seen
from deepscope.adaptation.domain_norm import TARGET
from deepscope.adaptation.networks import DomainNetwork
from deepscope.settings import Count


@dataclass(frozen=True)
class MaximumClassifierDiscrepancy(Adaptation):
    """Two label classifiers learn to disagree on the target, and the features learn to let them agree.

    Saito et al., "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation", CVPR 2018. A step has three
    parts: everything learns the source's labels; the classifiers raise their discrepancy on the target and keep the
    source's labels; the features lower it. Predictions are those of the first classifier.

    Attributes:
        repeats: updates of the features in the third part.
    """

    repeats: Count = 4

    def begin(self, network: DomainNetwork) -> nn.Module:
        """A second label classifier: a copy of the network, of which only the class layers are used and trained."""
        second = copy.deepcopy(network).requires_grad_(False)
        for layer in second.class_layers:
            layer.requires_grad_(True)
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        return second

    def loss(self, seen: Seen, own: nn.Module) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The first part: the second classifier's cross-entropy on the source; also the discrepancy."""
        second = cast("DomainNetwork", own)
        sizes = (len(seen.source.features), len(seen.target.features))
        logits = second.classify(torch.cat([seen.source.features, seen.target.features]), sizes)
        source, target = logits.split(sizes)
        value = discrepancy(seen.target.logits, target)
        return functional.cross_entropy(source, seen.labels), {"discrepancy": value}

    def further(self, seen: Seen, own: nn.Module) -> Iterator[Tensor]:
        """The second and the third part."""
        network, second = seen.network, cast("DomainNetwork", own)
        sizes = (len(seen.source.inputs), len(seen.target.inputs))
        with torch.no_grad():
            features = network.features(torch.cat([seen.source.inputs, seen.target.inputs]), sizes)
        outputs = [each.classify(features, sizes).split(sizes) for each in (network, second)]
        labelled = sum((functional.cross_entropy(source, seen.labels) for source, _ in outputs), torch.zeros(()))
        yield labelled - discrepancy(*(target for _, target in outputs))
        for _ in range(self.repeats):
            features = network.features(seen.target.inputs, (0, sizes[TARGET]))
            # The gradient stops at the features, so that the classifiers stay as they are.
            reached = features.detach().requires_grad_()
            value = discrepancy(*(each.classify(reached, (0, sizes[TARGET])) for each in (network, second)))
            (gradient,) = torch.autograd.grad(value, reached)
            yield (features * gradient).sum()


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of the class probabilities of two classifiers, of (N, C) logits each."""
    return (first.softmax(1) - second.softmax(1)).abs().mean()
