"""Shares and effects of training images on 15-Scene: their sum, their time, and true refits without 50 images.

    python benchmarks/training_images.py MODEL --data 15scene

MODEL is a folder of `deepscope transfer fit` with the head linear-svc. The refits are scikit-learn's, at the model's C.
"""

from __future__ import annotations

import argparse
import time

import torch
from scipy.stats import spearmanr
from sklearn.svm import LinearSVC

from deepscope.inputs.examples import Examples
from deepscope.models import load_model
from deepscope.models.classifier import Classifier
from deepscope.session import Session
from deepscope.transfer import training_images
from deepscope.transfer.training_images import _features


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", default="15scene")
    parser.add_argument("--queries", type=int, default=10)
    given = parser.parse_args()
    session = Session.open()
    model = load_model(given.model, session)
    network = model.network
    assert isinstance(network, Classifier) and network.fit is not None
    examples = Examples.of(given.data, session)
    test = examples.held_out
    drawn = torch.randperm(len(test), generator=session.rng("queries"))[: given.queries].tolist()
    paths = [test.paths[row] for row in drawn]
    training_images(model, paths, given.data, session=session)  # features are in the cache from here on
    found = training_images(model, paths, given.data, session=session)
    assert found.shares is not None and found.effects is not None
    print("largest remainder", float((found.shares.sum(1) + found.offset - found.scores).abs().max()))
    train = _features(model, list(found.training.sources), session).vectors
    queries = _features(model, paths, session).vectors
    labels = torch.from_numpy(found.training.labels)
    for row, label in enumerate(found.classes.tolist()):
        begun = time.monotonic()
        training_images(model, paths[row : row + 1], given.data, session=session)
        seconds = time.monotonic() - begun
        target = (labels == label).long().numpy()
        own = (found.effects[row] != 0).nonzero()[:, 0]
        rows = own[torch.randperm(len(own), generator=session.rng("removed", row))[:50]]

        def score(kept: torch.Tensor, row: int = row, target: object = target) -> float:
            machine = LinearSVC(C=network.fit.regularisation, tol=1e-8, max_iter=10**6, random_state=0)  # pyright: ignore
            machine.fit(train[kept].numpy(), target[kept.numpy()])  # pyright: ignore
            return float(machine.decision_function(queries[row : row + 1].numpy())[0])

        whole = score(torch.arange(len(train)))
        true = [whole - score(torch.arange(len(train)) != at) for at in rows]
        effect, share = (float(spearmanr(values[row, rows], true)[0]) for values in (found.effects, found.shares))  # pyright: ignore
        print(
            f"image {row}: rank correlation of effects {effect:.3f}, of shares {share:.3f}, {seconds:.1f} s", flush=True
        )


if __name__ == "__main__":
    main()
