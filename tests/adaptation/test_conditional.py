"""CDAN and MCC against slow float64 loops over images and classes, and against skada."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscope.adaptation import SOURCE, TARGET, Cdan, FeatureNetwork, MinimumClassConfusion, Seen, View
from deepscope.adaptation.cdan import Product
from deepscope.adaptation.class_confusion import certainty, confusion
from deepscope.adaptation.gradient_reversal import ramp
from deepscope.session import Session
from deepscope.training import Moment


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny() -> FeatureNetwork:
    torch.manual_seed(0)
    return FeatureNetwork(5, 3, width=4, dropout=0.0, centre=False).double()


def seen(network: FeatureNetwork, source: Tensor, target: Tensor) -> Seen:
    views = [View(part, *network(part, domain)) for domain, part in ((SOURCE, source), (TARGET, target))]
    labels = torch.zeros(len(source), dtype=torch.long)
    return Seen(network, views[0], views[1], labels, target, Moment(5, 10, Session(quiet=True)))


def entropy_weights(rows: list[list[float]]) -> list[float]:
    weights = [1 + math.exp(sum(p * math.log(p) for p in row)) for row in rows]
    return [len(rows) * weight / sum(weights) for weight in weights]


def test_class_confusion_by_loops() -> None:
    logits = 3 * drawn(7, 4)
    rows = (logits / 2.5).softmax(1).tolist()
    weights = entropy_weights(rows)
    shares = []
    for first in range(4):
        pairs = [sum(w * row[first] * row[second] for w, row in zip(weights, rows, strict=True)) for second in range(4)]
        shares.append(sum(pairs[:first] + pairs[first + 1 :]) / sum(pairs))
    assert confusion(logits, 2.5).item() == pytest.approx(sum(shares) / 4, rel=1e-12)
    assert confusion(1e3 * torch.eye(4), 1.0).item() == pytest.approx(0, abs=1e-6)
    assert confusion(torch.zeros(6, 4), 1.0).item() == pytest.approx(3 / 4)
    network = tiny()
    loss, figures = MinimumClassConfusion(weight=2.0).loss(seen(network, drawn(6, 5), drawn(6, 5, seed=1)), nn.Module())
    assert loss.item() == pytest.approx(2 * figures["class-confusion"].item())


def test_class_confusion_agrees_with_skadas() -> None:
    losses = pytest.importorskip("skada.deep.losses", reason="compares with skada: pip install 'deepscope[peers]'")
    logits = 3 * drawn(9, 5)
    assert confusion(logits, 1.7).item() == pytest.approx(losses.mcc_loss(logits, T=1.7, eps=0.0).item(), rel=1e-9)


@pytest.mark.parametrize("entropy", [True, False])
def test_cdan_is_two_optimisers_that_pull_against_each_other(entropy: bool) -> None:
    """By loops: the domain classifier descends the loss; the features, scaled by the factor, ascend it."""
    network, source, target = tiny(), drawn(4, 5), drawn(6, 5, seed=1) + 1
    method = Cdan(0.7, entropy=entropy, hidden=3)
    own = method.begin(network).double()
    here = seen(network, source, target)
    loss, figures = method.loss(here, own)
    parameters = [*network.bottleneck.parameters(), *own.parameters()]
    found = torch.autograd.grad(loss, parameters)

    features = torch.cat([network(part, domain)[0] for domain, part in ((SOURCE, source), (TARGET, target))])
    rows = network.classify(features, (4, 6)).detach().softmax(1)
    weights = entropy_weights(rows.tolist()) if entropy else [1.0] * 10
    terms = []
    for number, (feature, row) in enumerate(zip(features, rows, strict=True)):
        joined = torch.stack([p * f for p in row for f in feature])
        probability = own.get_submodule("domain")(joined).sigmoid().squeeze()
        terms.append(-weights[number] * (probability if number >= 4 else 1 - probability).log())
    expected = torch.stack(terms).sum() / 10
    assert loss.item() == pytest.approx(expected.item())
    wanted = list(torch.autograd.grad(expected, parameters))
    wanted[:2] = [-0.7 * ramp(0.5) * gradient for gradient in wanted[:2]]
    torch.testing.assert_close(list(found), wanted)
    assert figures["domain/factor"].item() == pytest.approx(0.7 * ramp(0.5))


def test_cdan_without_entropy_agrees_with_skadas() -> None:
    """skada's module around the same layers, which it gives logits where the paper has probabilities."""
    deep = pytest.importorskip("skada.deep", reason="compares with skada: pip install 'deepscope[peers]'")
    adversarial = pytest.importorskip("skada.deep._adversarial")
    network, method = tiny().float(), Cdan(entropy=False)
    own = method.begin(network)
    here = seen(network, drawn(6, 5).float(), drawn(6, 5, seed=1).float())
    domain = nn.Sequential(own.get_submodule("domain"), nn.Sigmoid(), nn.Flatten(0))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, features: Tensor) -> Tensor:
            return network.classify(self.layer(features), (len(features), 0)).softmax(1)

    module = adversarial.CDANModule(Plain(), "layer", domain).train()
    predictions = [module(view.features) for view in (here.source, here.target)]
    theirs = deep.CDANLoss()(predictions[0][1], predictions[1][1], predictions[0][2], predictions[1][2])
    assert method.loss(here, own)[0].item() == pytest.approx(theirs.item() / 2, rel=1e-5)  # theirs sums the domains


def test_a_randomised_product_keeps_inner_products() -> None:
    torch.manual_seed(0)
    product = Product(30, 20, 500)
    features, rows = drawn(40, 30).float(), drawn(40, 20, seed=1).float().softmax(1)
    exact = Product(30, 20, 600)
    assert product.width == 500 and exact.width == 600
    found, wanted = (each(features, rows) @ each(features, rows).T for each in (product, exact))
    correlation = torch.corrcoef(torch.stack([found.flatten(), wanted.flatten()]))[0, 1]
    assert correlation > 0.9 and functional.mse_loss(found, wanted) < 0.2 * wanted.square().mean()


def test_weights_of_certain_images_are_larger() -> None:
    weights = certainty(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    assert weights.tolist() == pytest.approx([2 / 1.75, 1.5 / 1.75])
