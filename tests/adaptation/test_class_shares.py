"""Weights of the source's classes (PADA) against loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deepscope.adaptation import SOURCE, TARGET, Cdan, Dann, FeatureNetwork, Recipe, Seen, SourceOnly, View
from deepscope.adaptation.class_confusion import certainty
from deepscope.adaptation.class_shares import ClassShares
from deepscope.adaptation.coral import distance
from deepscope.adaptation.mmd import discrepancy
from deepscope.adaptation.step import AdaptationStep
from deepscope.session import Session
from deepscope.training import Moment

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
MOMENT = Moment(5, 10, Session(quiet=True))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny() -> FeatureNetwork:
    torch.manual_seed(0)
    return FeatureNetwork(5, 3, width=4, dropout=0.0, centre=False).double()


def test_shares_are_a_moving_average_and_weights_their_ratio_to_the_largest() -> None:
    shares = ClassShares(3).double()
    assert shares.weights(LABELS).tolist() == [1.0] * 6
    logits = drawn(8, 3) * 3
    for _ in range(2):
        shares.update(logits)
    mean = [sum(row[label] for row in logits.softmax(1).tolist()) / 8 for label in range(3)]
    wanted = [0.81 / 3 + 0.19 * value for value in mean]
    torch.testing.assert_close(shares.shares.tolist(), wanted)
    assert shares.weights(LABELS).tolist() == pytest.approx([wanted[label] / max(wanted) for label in LABELS])


def test_the_sources_loss_is_weighted() -> None:
    source, target = drawn(6, 5), drawn(8, 5, seed=1)
    network, recipe = tiny(), Recipe(rate=0.05, optimiser="sgd", partial=True)
    weight, bias = network.output.weight.clone(), network.output.bias.clone()
    step = AdaptationStep(network, SourceOnly(), recipe)
    shares = step.parts["shares"]
    assert isinstance(shares, ClassShares)
    shares.shares.copy_(torch.tensor([0.5, 0.4, 0.1]))
    gradients: list[Tensor] = []

    def update(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        gradients.extend(torch.autograd.grad(loss, [network.output.weight, network.output.bias]))

    figures = step((source, LABELS, target), Moment(0, 10, Session(quiet=True)), update)
    features = network(source, SOURCE)[0].detach()
    rows = (features @ weight.T + bias).softmax(1)
    counts = [1.0, 0.8, 0.2]
    losses = [-counts[label] * math.log(row[label]) for row, label in zip(rows.tolist(), LABELS.tolist(), strict=True)]
    assert figures["loss/source"].item() == pytest.approx(sum(losses) / 6)
    slopes = torch.stack([counts[label] * (row - functional.one_hot(label, 3)) for row, label in zip(rows, LABELS)])
    torch.testing.assert_close(gradients[0], slopes.T @ features / 6)
    torch.testing.assert_close(gradients[1], slopes.sum(0) / 6)
    mean = network(target, TARGET)[1].softmax(1).mean(0)
    torch.testing.assert_close(shares.shares, torch.tensor([0.45, 0.36, 0.09]) + 0.1 * mean.float().detach())
    assert "shares" not in AdaptationStep(network, SourceOnly(), Recipe()).parts


@pytest.mark.parametrize("method", [Dann(0.7, hidden=3), Cdan(0.7, hidden=3), Cdan(0.7, hidden=3, entropy=False)])
def test_the_domains_are_compared_with_weights(method: Dann | Cdan) -> None:
    network, weights = tiny(), torch.tensor([1.0, 0.8, 0.2, 1.0, 0.8, 0.2]).double()
    views = [
        View(part, *network(part, domain)) for domain, part in ((SOURCE, drawn(6, 5)), (TARGET, drawn(8, 5, seed=1)))
    ]
    own = method.begin(network).double()
    loss, _ = method.loss(Seen(network, views[0], views[1], LABELS, drawn(8, 5), MOMENT, weights), own)
    probabilities = torch.cat([view.logits for view in views]).softmax(1)
    sure = certainty(probabilities) if isinstance(method, Cdan) and method.entropy else torch.ones(14)
    classifier = own if isinstance(method, Dann) else own.get_submodule("domain")
    terms = []
    for number, (feature, row) in enumerate(zip(torch.cat([v.features for v in views]), probabilities, strict=True)):
        joined = feature if isinstance(method, Dann) else torch.stack([p * f for p in row for f in feature])
        target = classifier(joined).sigmoid().squeeze()
        counts = weights[number] if number < 6 else 1
        terms.append(-counts * sure[number] * (target if number >= 6 else 1 - target).log())
    assert loss.item() == pytest.approx((torch.stack(terms).sum() / 14).item())


COUNTS = torch.tensor([1, 2, 1, 3])


def test_a_weight_of_two_is_an_image_that_is_there_twice() -> None:
    first, second = drawn(4, 3), drawn(5, 3, seed=1)
    twice = first.repeat_interleave(COUNTS, 0)
    scale = torch.cdist(torch.cat([first, second]), torch.cat([first, second])).square().mean()

    def kernel(a: Tensor, b: Tensor) -> float:
        squares = torch.cdist(a, b).square()
        return sum((-squares / (each * scale)).exp().mean().item() for each in (0.25, 0.5, 1, 2, 4)) / 5

    wanted = kernel(twice, twice) + kernel(second, second) - 2 * kernel(twice, second)
    assert discrepancy(first, second, COUNTS.double()).item() == pytest.approx(wanted)


def test_the_weighted_covariance_is_numpys() -> None:
    first, second = drawn(4, 3), drawn(5, 3, seed=1)
    one, other = np.cov(first.T.numpy(), aweights=COUNTS.numpy()), np.cov(second.T.numpy())
    assert distance(first, second, COUNTS.double()).item() == pytest.approx(((one - other) ** 2).sum() / 36)
