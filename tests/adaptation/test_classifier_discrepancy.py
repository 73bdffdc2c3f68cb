"""MCD against a plain loop in float64 with one optimiser per network, as in the paper's algorithm."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.adaptation import (
    FeatureNetwork,
    MaximumClassifierDiscrepancy,
    Recipe,
    SourceOnly,
)
from deepscope.adaptation.classifier_discrepancy import discrepancy
from deepscope.adaptation.networks import DomainNetwork
from deepscope.adaptation.step import AdaptationStep
from deepscope.session import Session
from deepscope.training import Moment, cosine_decay


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny() -> FeatureNetwork:
    torch.manual_seed(0)
    return FeatureNetwork(5, 3, width=4, dropout=0.0, centre=False).double()


def update(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """As `training.fit` does it."""
    optimiser.zero_grad()
    loss.backward(inputs=[p for group in optimiser.param_groups for p in group["params"]])
    optimiser.step()


def apart(first: Tensor, second: Tensor) -> Tensor:
    """By loops, of (N, C) logits."""
    pairs = zip(first.softmax(1).flatten(), second.softmax(1).flatten(), strict=True)
    terms = [abs(one - other) for one, other in pairs]
    return torch.stack(terms).sum() / len(terms)


def test_discrepancy_is_the_mean_absolute_difference_of_probabilities() -> None:
    first, second = drawn(6, 3), drawn(6, 3, seed=1)
    assert discrepancy(first, second).item() == pytest.approx(apart(first, second).item())
    sure = 100 * torch.eye(3)
    assert discrepancy(sure, sure.roll(1, 0)).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("repeats", [1, 3])
def test_three_parts_are_three_optimisers(repeats: int) -> None:
    source, labels, target = drawn(6, 5), torch.arange(6) % 3, drawn(8, 5, seed=1) + 1
    network, method, recipe = tiny(), MaximumClassifierDiscrepancy(repeats=repeats), Recipe(rate=0.05)
    step = AdaptationStep(network, method, recipe)
    second = step.parts["method"]
    assert isinstance(second, DomainNetwork)
    modules = [copy.deepcopy(each) for each in (network.bottleneck, network.output, second.get_submodule("output"))]
    generator, one, other = modules
    assert not torch.equal(network.output.weight, second.get_parameter("output.weight"))

    optimisers = [torch.optim.Adam(module.parameters(), 0.05) for module in modules]

    def descend(loss: Tensor, chosen: Sequence[torch.optim.Optimizer]) -> None:
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in chosen:
            optimiser.step()

    def labelled() -> Tensor:
        losses = [functional.cross_entropy(head(generator(source * 5**0.5)), labels) for head in (one, other)]
        return losses[0] + losses[1]

    def unlabelled() -> Tensor:
        return apart(one(generator(target * 5**0.5)), other(generator(target * 5**0.5)))

    for number in range(3):
        figures = step((source, labels, target), Moment(number, 10, Session(quiet=True)), update)
        assert figures["discrepancy"].item() == pytest.approx(unlabelled().item())
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = 0.05 * cosine_decay(number / 10)
        descend(labelled(), [*optimisers])
        descend(labelled() - unlabelled(), optimisers[1:])
        for _ in range(repeats):
            descend(unlabelled(), optimisers[:1])

    found = [network.bottleneck, network.output, second.get_submodule("output")]
    for ours, theirs in zip(found, modules, strict=True):
        assert isinstance(ours, nn.Linear) and isinstance(theirs, nn.Linear)
        torch.testing.assert_close(ours.weight, theirs.weight)
        torch.testing.assert_close(ours.bias, theirs.bias)
    assert torch.equal(second.get_parameter("bottleneck.weight"), tiny().bottleneck.weight)


@pytest.mark.parametrize("statistics", ["domain", "none"])
def test_class_layers_are_all_that_classification_depends_on(statistics: str) -> None:
    recipe = Recipe(statistics=statistics)  # type: ignore[arg-type]
    for network in (recipe.digit_network(SourceOnly()), recipe.feature_network(7, 3, SourceOnly())):
        features = torch.randn(4, network.width, generator=torch.Generator().manual_seed(0))
        logits = network.classify(features, (2, 2)).square().sum()
        reached = [
            p
            for p in network.parameters()
            if torch.autograd.grad(logits, p, retain_graph=True, allow_unused=True)[0] is not None
        ]
        listed = [p for layer in network.class_layers for p in layer.parameters()]
        assert {id(p) for p in reached} == {id(p) for p in listed}
