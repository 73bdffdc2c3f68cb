"""Rows of a comparison: each recipe and head, chosen on the training images, measured on the test images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepscope import images, statistics
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.fitting import fit_features
from deepscope.transfer.heads import Head
from deepscope.transfer.recipe import Recipe
from deepscope.transfer.recipe_features import Gathered
from deepscope.transfer.splits import Split


@dataclass(frozen=True, eq=False)
class Row:
    """What one recipe and head gave.

    Attributes:
        recipe, head: what was measured.
        setting: what cross-validation chose for the head, on the first split.
        dimension: of the feature vectors.
        validation: cross-validated accuracy on the training images, mean over the splits.
        trained: training images of a split.
        right: for each split, (test images,) whether the answer was right.
        accuracy: on the test images; with several splits their mean and Student's interval.
        without_copies: the same without test images that are copies of training images.
        seconds: for normalising and fitting, all splits together.
    """

    recipe: Recipe
    head: Head
    setting: str
    dimension: int
    validation: float
    trained: int
    right: tuple[NDArray[np.bool_], ...]
    accuracy: Estimate
    without_copies: Estimate
    seconds: float


def measure(
    recipe: Recipe, head: Head, features: Gathered, labels: NDArray[np.int64], splits: Sequence[Split], session: Session
) -> Row:
    """Fit on each split's training images, answer its test images."""
    blocks, answers = features.blocks(recipe), torch.from_numpy(labels)
    right, validation, setting = [], [], ""
    clock = time.monotonic()
    for split in splits:
        train, test = torch.from_numpy(split.train), torch.from_numpy(split.test)
        fitted = fit_features([b[train] for b in blocks], answers[train], head, recipe.normalisation, seed=session.seed)
        right.append((fitted.scores([b[test] for b in blocks]).argmax(1) == answers[test]).numpy())
        validation.append(fitted.validation)
        setting = setting or fitted.head.setting
    seconds = time.monotonic() - clock
    dimension = sum(block.shape[1] for block in blocks)
    return _row(recipe, head, setting, dimension, float(np.mean(validation)), right, splits, seconds)


def measure_tuned(
    recipe: Recipe,
    head: Head,
    fine_tuning: FineTuning,
    features: Gathered,
    sources: Sequence[images.Source],
    labels: NDArray[np.int64],
    split: Split,
    session: Session,
    *,
    folder: Path | None = None,
) -> Row:
    """Fine-tune on a split's training images but the held-out tenth, answer its test images.

    The row's `validation` is the accuracy on the held-out tenth.

    Args:
        sources: the images that `features` has rows for.
        folder: for checkpoints.
    """
    from deepscope.transfer.classifier import ImageClassifier

    clock = time.monotonic()
    train, test, answers = torch.from_numpy(split.train), torch.from_numpy(split.test), torch.from_numpy(labels)
    classifier = ImageClassifier(
        str(recipe),
        normalisation=recipe.normalisation,
        head=head.name,
        size=recipe.size,
        flip=recipe.flip,
        scales=recipe.scales,
        fine_tuning=fine_tuning,
        session=session,
    )
    classifier.open()
    blocks = [block[train] for block in features.blocks(recipe)]
    classifier.tune([sources[row] for row in split.train], blocks, answers[train], folder=folder)
    scores = torch.from_numpy(classifier.decision_function([sources[row] for row in split.test]))
    right = [(scores.argmax(1) == answers[test]).numpy()]
    fitted, seconds = classifier.fitted_, time.monotonic() - clock
    dimension = sum(block.shape[1] for block in blocks)
    return _row(recipe, head, fitted.head.setting, dimension, fitted.validation, right, [split], seconds)


def _row(
    recipe: Recipe,
    head: Head,
    setting: str,
    dimension: int,
    validation: float,
    right: Sequence[NDArray[np.bool_]],
    splits: Sequence[Split],
    seconds: float,
) -> Row:
    clean = [r[~split.copied] for r, split in zip(right, splits, strict=True)]
    return Row(
        recipe=recipe,
        head=head,
        setting=setting,
        dimension=dimension,
        validation=validation,
        trained=len(splits[0].train),
        right=tuple(right),
        accuracy=_accuracy(right),
        without_copies=_accuracy(clean),
        seconds=seconds,
    )


def chosen(rows: Sequence[Row]) -> int:
    """The row that cross-validation on the training images prefers: the test images have no say."""
    return int(np.nanargmax([-1 if np.isnan(row.validation) else row.validation for row in rows]))


def p_value(row: Row, other: Row) -> float:
    """Whether two rows differ on the same test images.

    One split: McNemar's exact test. Several: the paired t test over splits with the variance that overlapping
    training sets need (Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 2003).
    """
    from scipy import stats

    if len(row.right) == 1:
        return statistics.mcnemar(row.right[0], other.right[0])
    differences = np.array([a.mean() - b.mean() for a, b in zip(row.right, other.right, strict=True)])
    if np.allclose(differences, differences[0]):
        return 1.0 if np.isclose(differences[0], 0) else 0.0
    spread = np.sqrt((1 / len(differences) + len(row.right[0]) / row.trained) * differences.var(ddof=1))
    return float(2 * stats.t.sf(abs(differences.mean()) / spread, len(differences) - 1))


def _accuracy(right: Sequence[NDArray[np.bool_]]) -> Estimate:
    if len(right) == 1:
        return statistics.proportion(int(right[0].sum()), len(right[0]))
    return statistics.over_seeds([r.mean() for r in right])
