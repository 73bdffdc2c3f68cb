"""Shares and effects of training images on 15-Scene: their sum, their time, and true refits without 50 images.

    python benchmarks/training_images.py MODEL --data 15scene

MODEL is a folder of `deepscope transfer fit` with the head linear-svc. Refits are exact, at the model's C.
"""

from __future__ import annotations

import argparse
import time

import torch
from scipy.stats import spearmanr
from torch.nn.functional import pad

from deepscope.inputs.examples import Examples
from deepscope.models import load_model
from deepscope.models.classifier import Classifier
from deepscope.session import Session
from deepscope.transfer import training_images
from deepscope.transfer.heads.squared_hinge import path
from deepscope.transfer.training_images import _features


def ones(vectors: torch.Tensor) -> torch.Tensor:
    """The vectors with a feature of 1 for the intercept."""
    return pad(vectors, (0, 1), value=1.0)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", default="15scene")
    parser.add_argument("--queries", type=int, default=6)
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
    print("largest remainder", float((found.shares.sum(1) + found.offset - found.scores).abs().max()), flush=True)
    train = _features(model, list(found.training.sources), session).vectors
    queries = _features(model, paths, session).vectors
    labels, cost = torch.from_numpy(found.training.labels), network.fit.regularisation
    for row, label in enumerate(found.classes.tolist()):
        begun = time.monotonic()
        training_images(model, paths[row : row + 1], given.data, session=session)
        seconds = time.monotonic() - begun
        target = (labels == label).double()[:, None] * 2 - 1
        own = (found.effects[row] != 0).nonzero()[:, 0]
        rows = own[torch.randperm(len(own), generator=session.rng("removed", row))[:50]]

        def score(without: int | None, row: int = row, target: torch.Tensor = target) -> float:
            seen = torch.ones_like(target)
            if without is not None:
                seen[without] = 0
            (weights,) = path(ones(train), target, seen, [cost], tolerance=1e-8)
            return float(ones(queries[row : row + 1]) @ weights)

        whole = score(None)
        true = [whole - score(at) for at in rows.tolist()]
        effect, share = (float(spearmanr(values[row, rows], true)[0]) for values in (found.effects, found.shares))  # pyright: ignore
        print(
            f"image {row}: rank correlation of effects {effect:.3f}, of shares {share:.3f}, {seconds:.1f} s", flush=True
        )


if __name__ == "__main__":
    main()
