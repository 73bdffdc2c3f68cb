"""How well `label_errors` finds labels that were flipped on purpose: 5 % of 15-Scene's training images, over ten seeds.

    python benchmarks/label_errors.py --seeds 10

It needs the images in `DEEPSCOPE_HOME`. Each seed draws which images are flipped, their new classes, and the folds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from sklearn.metrics import roc_auc_score

from deepscope.inputs.examples import Examples
from deepscope.session import Session
from deepscope.statistics import over_seeds
from deepscope.transfer import label_errors


def main() -> None:
    """Print one line per seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="15scene")
    parser.add_argument("--features", default="efficientnet_lite0")
    parser.add_argument("--head", default="logistic-regression")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--share", type=float, default=0.05)
    given = parser.parse_args()
    found = []
    for seed in range(given.seeds):
        session = Session.open(seed=seed)
        clean = Examples.of(given.data, session).training
        rng = np.random.default_rng(seed)
        rows = rng.permutation(len(clean))[: round(given.share * len(clean))]
        labels = clean.labels.copy()
        labels[rows] = (labels[rows] + rng.integers(1, len(clean.classes), len(rows))) % len(clean.classes)
        begun = time.monotonic()
        errors = label_errors(replace(clean, labels=labels), given.features, head=given.head, keep=0, session=session)
        seconds = time.monotonic() - begun
        flipped = labels != clean.labels
        worst = np.argsort(errors.confidence, kind="stable")[: len(rows)]
        true = float((errors.predicted == clean.labels).mean())
        row = (float(roc_auc_score(flipped, -errors.confidence)), float(flipped[worst].mean()))
        found.append((*row, errors.wrong.value, errors.bounds[0] <= true <= errors.bounds[1], seconds))
        print(
            f"seed {seed}: AUROC {row[0]:.4f}, precision at {len(rows)} {row[1]:.3f}, suspects "
            f"{errors.suspects.sum()} ({flipped[errors.suspects].mean():.2f} flipped), wrong {errors.wrong}, accuracy "
            f"{errors.accuracy}, against the true labels {true:.3f}, bounds {errors.bounds[0]:.3f} to "
            f"{errors.bounds[1]:.3f}, {seconds:.0f} s",
            flush=True,
        )
    for name, column in zip(("AUROC", "precision", "wrong", "bounds hold", "seconds"), zip(*found)):
        print(name, over_seeds(column), "least", min(column))


if __name__ == "__main__":
    main()
