"""Recipes and heads, chosen on the training images and measured on the test images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepscope import statistics
from deepscope.inputs.examples import Examples, Source
from deepscope.models import VisionModel
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.fitting import fit_features
from deepscope.transfer.heads import Head
from deepscope.transfer.recipe import Recipe
from deepscope.transfer.recipe_features import RecipeFeatures, extract_recipes
from deepscope.transfer.splits import Holdout, Split, divide


@dataclass(frozen=True, eq=False)
class Measurable:
    """Labelled images whose features are known, and how they are split.

    Attributes:
        data: all images, the unreadable ones too.
        models: whose features they are, by name.
        features: of the readable images.
        splits: rows of the readable images.
    """

    data: Examples
    models: Mapping[str, VisionModel]
    features: RecipeFeatures
    splits: tuple[Split, ...]

    @classmethod
    def extracted(
        cls,
        data: Examples,
        recipes: Sequence[Recipe],
        models: Mapping[str, VisionModel],
        holdout: Holdout,
        session: Session,
    ) -> Measurable:
        """Extract what the recipes need, and divide the readable images.

        Raises:
            DataError: no image could be read, or a class has too few.
        """
        features = extract_recipes(recipes, models, data.sources, session)
        splits = divide(data, features.rows, holdout, session, digests=features.digests)
        return cls(data, models, features, tuple(splits))

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) classes of the readable images."""
        return self.data.labels[self.features.rows]

    @property
    def sources(self) -> list[Source]:
        """The readable images."""
        return [self.data.sources[row] for row in self.features.rows]

    @property
    def paths(self) -> list[Path]:
        """Of the readable images."""
        return [self.data.paths[row] for row in self.features.rows]


@dataclass(frozen=True, eq=False)
class Row:
    """The result of one recipe and head.

    Attributes:
        recipe, head: what was measured.
        setting: what cross-validation chose for the head, on the first split.
        dimension: of the feature vectors.
        validation: cross-validated accuracy on the training images, mean over the splits.
        trained: training images per split.
        correct: for each split, (test images,) whether the prediction was correct.
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
    correct: tuple[NDArray[np.bool_], ...]
    accuracy: Estimate
    without_copies: Estimate
    seconds: float


@dataclass
class _Found:
    """What was found split by split."""

    correct: list[NDArray[np.bool_]]
    validation: list[float]
    setting: str = ""


def measure(recipe: Recipe, head: Head, on: Measurable, session: Session) -> Row:
    """Fit to each split's training images, and classify its test images."""
    blocks, labels = on.features.blocks(recipe), torch.from_numpy(on.labels)
    found, clock = _Found([], []), time.monotonic()
    for split in on.splits:
        train, test = torch.from_numpy(split.train), torch.from_numpy(split.test)
        fitted = fit_features([b[train] for b in blocks], labels[train], head, recipe.normalisation, seed=session.seed)
        found.correct.append((fitted.scores([b[test] for b in blocks]).argmax(1) == labels[test]).numpy())
        found.validation.append(fitted.validation)
        found.setting = found.setting or fitted.head.setting
    return _row(recipe, head, found, on.splits, blocks, time.monotonic() - clock)


def measure_tuned(
    recipe: Recipe, head: Head, fine_tuning: FineTuning, on: Measurable, session: Session, *, folder: Path | None = None
) -> Row:
    """Fine-tune on the first split's training images but the held-out tenth, and classify its test images.

    The row's `validation` is the accuracy on the held-out tenth.

    Args:
        recipe, head: what is fitted before the networks are trained further.
        fine_tuning: how.
        on: the images to use.
        session: device, precision and seed.
        folder: for checkpoints.
    """
    from deepscope.transfer.classifier import ImageClassifier

    clock, split, labels, sources = time.monotonic(), on.splits[0], torch.from_numpy(on.labels), on.sources
    train, test = torch.from_numpy(split.train), torch.from_numpy(split.test)
    classifier = ImageClassifier.of(recipe, head=head.name, fine_tuning=fine_tuning, session=session)
    classifier.open(on.models)
    blocks = [block[train] for block in on.features.blocks(recipe)]
    classifier.tune([sources[row] for row in split.train], blocks, labels[train], folder=folder)
    scores = torch.from_numpy(classifier.decision_function([sources[row] for row in split.test]))
    fitted = classifier.fitted_
    found = _Found([(scores.argmax(1) == labels[test]).numpy()], [fitted.validation], fitted.head.setting)
    return _row(recipe, head, found, [split], blocks, time.monotonic() - clock)


def _row(
    recipe: Recipe,
    head: Head,
    found: _Found,
    splits: Sequence[Split],
    blocks: Sequence[torch.Tensor],
    seconds: float,
) -> Row:
    clean = [correct[~split.copied] for correct, split in zip(found.correct, splits, strict=True)]
    return Row(
        recipe=recipe,
        head=head,
        setting=found.setting,
        dimension=sum(block.shape[1] for block in blocks),
        validation=float(np.mean(found.validation)),
        trained=len(splits[0].train),
        correct=tuple(found.correct),
        accuracy=_accuracy(found.correct),
        without_copies=_accuracy(clean),
        seconds=seconds,
    )


def chosen(rows: Sequence[Row]) -> int:
    """The row that cross-validation on the training images prefers: the test images are not used."""
    return int(np.nanargmax([-1 if np.isnan(row.validation) else row.validation for row in rows]))


def p_value(row: Row, other: Row) -> float:
    """Whether two rows differ on the same test images.

    One split: McNemar's exact test. Several: the paired t test over splits with the variance that overlapping
    training sets need (Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 2003), and at
    least that of rounding: a few differences that happen to be equal are no proof.
    """
    from scipy import stats

    if len(row.correct) == 1:
        return statistics.mcnemar(row.correct[0], other.correct[0])
    differences = np.array([a.mean() - b.mean() for a, b in zip(row.correct, other.correct, strict=True)])
    images = len(row.correct[0])
    rounding = 1 / (12 * images**2)  # accuracies are multiples of 1 / images, and can be equal by chance
    variance = max(differences.var(ddof=1), rounding)
    spread = np.sqrt((1 / len(differences) + images / row.trained) * variance)
    return float(2 * stats.t.sf(abs(differences.mean()) / spread, len(differences) - 1))


def p_values(rows: Sequence[Row], baseline: int) -> tuple[float | None, ...]:
    """`p_value` of each row against the baseline, adjusted for all of them together (Holm); None for itself."""
    others = [place for place in range(len(rows)) if place != baseline]
    adjusted = statistics.holm([p_value(rows[place], rows[baseline]) for place in others])
    found = dict(zip(others, adjusted, strict=True))
    return tuple(found.get(place) for place in range(len(rows)))


def _accuracy(correct: Sequence[NDArray[np.bool_]]) -> Estimate:
    if len(correct) == 1:
        return statistics.proportion(int(correct[0].sum()), len(correct[0]))
    return statistics.over_seeds([each.mean() for each in correct])
