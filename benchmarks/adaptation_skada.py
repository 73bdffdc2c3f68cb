"""CDAN of deepscope and of skada on identical features of 15-Scene, clean to corrupted.

python benchmarks/adaptation_skada.py [--corruptions gaussian-noise ...] [--seeds 5] [--epochs 14] [--json]

Both train a linear bottleneck of 256 and a class layer on features that are standardised domain by domain, with Adam
(2e-3, cosine decay), dropout of 0.1, 128 + 128 images per step, and a domain classifier with 100 hidden units, and
measure the last epoch. skada's class is used as it is, with two domain classifiers: its own, and the sigmoid one that
deepscope trains (behind skada's reversal layer). deepscope also runs as `adapt fit` does: with entropy weights, and the
epoch chosen by InfoMax.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from skada.deep import CDAN
from skada.deep.modules import DomainClassifier, GradientReversalLayer
from skorch.callbacks import LRScheduler
from torch import Tensor, nn

from adaptation_features import Pair, load_pair, measured
from deepscope.adaptation import SOURCE, TARGET, Cdan, FeatureNetwork, Recipe
from deepscope.session import Session
from deepscope.statistics import over_seeds
from deepscope.training import cosine_decay
from environment import environment

REPORTED = ("gaussian-noise", "gaussian-blur", "contrast")
_WIDTH = 256


class Plain(nn.Module):
    """Bottleneck and class layer."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.drop, self.bottleneck = nn.Dropout(0.1), nn.Linear(inputs, _WIDTH)
        self.output = nn.Linear(_WIDTH, classes)

    def forward(self, inputs: Tensor, sample_weight: Any = None) -> Tensor:
        """(N, D) -> (N, C) logits."""
        return self.output(self.bottleneck(self.drop(inputs)))


class Sigmoid(nn.Module):
    """skada's reversal, then one hidden layer and a sigmoid; skada's own ends in a softmax of one number."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 100), nn.ReLU(), nn.Linear(100, 1), nn.Sigmoid())

    def forward(self, inputs: Tensor, sample_weight: Any = None) -> Tensor:
        """(N, D) -> (N,) probability of the target."""
        return self.layers(GradientReversalLayer.apply(inputs, 1.0)).squeeze(1)


def theirs(pair: Pair, epochs: int, seed: int, *, own_classifier: bool) -> float:
    """Target accuracy of skada's CDAN after its last epoch."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - skorch's
    network = FeatureNetwork(pair.source.inputs.shape[1], pair.classes, dropout=0.0, centre=True)
    network.calibrate(pair.source.inputs, pair.target.inputs)
    width = _WIDTH * pair.classes

    def standard(inputs: Tensor, domain: int) -> Tensor:
        return (inputs - network.shift[domain]) * network.scale[domain] * inputs.shape[1] ** 0.5

    inputs = torch.cat([standard(pair.source.inputs, SOURCE), standard(pair.target.inputs, TARGET)])
    labels = torch.cat([pair.source.labels, torch.full((len(pair.target),), -1)])
    domains = np.array([1] * len(pair.source) + [-2] * len(pair.target))
    policy: Any = torch.optim.lr_scheduler.LambdaLR
    decay = LRScheduler(policy, lr_lambda=lambda epoch: cosine_decay(epoch / epochs))
    net = CDAN(
        Plain(inputs.shape[1], pair.classes),
        layer_name="bottleneck",
        domain_classifier=DomainClassifier(width) if own_classifier else Sigmoid(width),
        optimizer=torch.optim.Adam,
        lr=2e-3,
        max_epochs=epochs,
        batch_size=128,
        train_split=None,
        callbacks=[decay],
        verbose=0,
    )
    net.fit(inputs.numpy(), labels.numpy(), sample_domain=domains)
    test = standard(pair.target_test.inputs, TARGET).numpy()
    predicted = net.predict(test, sample_domain=np.full(len(test), -2))
    return float((predicted == pair.target_test.labels.numpy()).mean())


def ours(pair: Pair, epochs: int, session: Session, method: Cdan, validator: str) -> float:
    """Target accuracy of deepscope's."""
    adapted = pair.adapt(method, Recipe(epochs=epochs), session, validator=validator)
    _, target = measured(adapted, pair, session)
    return float((target.argmax(1) == pair.target_test.labels).float().mean())


def main() -> None:
    """Print means over seeds with Student intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corruptions", nargs="+", default=REPORTED)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    session = Session.open(device="cpu", precision="bfloat16", quiet=True)
    exact = replace(session, precision="float32")
    for corruption in arguments.corruptions:
        pair = load_pair(corruption, 5, session, development=False)
        found: dict[str, list[float]] = {}
        for seed in range(arguments.seeds):
            seeded = replace(exact, seed=seed)
            for name, accuracy in (
                ("skada, its classifier", theirs(pair, arguments.epochs, seed, own_classifier=True)),
                ("skada, sigmoid classifier", theirs(pair, arguments.epochs, seed, own_classifier=False)),
                ("deepscope, no entropy, last", ours(pair, arguments.epochs, seeded, Cdan(entropy=False), "last")),
                ("deepscope, entropy, InfoMax", ours(pair, arguments.epochs, seeded, Cdan(), "info-max")),
            ):
                found.setdefault(name, []).append(accuracy)
        if arguments.json:
            print(
                json.dumps({"corruption": corruption, "found": found, "environment": environment(engine="torch")}),
                flush=True,
            )
            continue
        print(corruption)
        for name, values in found.items():
            print(f"  {name:28} {over_seeds(values)}", flush=True)


if __name__ == "__main__":
    main()
