"""What shows how good a classifier is: confusion, calibration, few shots, a map, the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torch import Tensor

from deepscope import statistics
from deepscope.commands.shown import photograph
from deepscope.models import Preprocessing
from deepscope.models.classifier import NormalisationKind, join
from deepscope.results import Block, Column, Curves, Heatmap, ImageGrid, Series, Table
from deepscope.session import Session
from deepscope.transfer.evaluation import Reliability, few_shot, plane
from deepscope.transfer.heads import Head

if TYPE_CHECKING:
    from deepscope.transfer.classifier import ImageClassifier

_SHOTS = (1, 5, 10, 25, 50, 100)
_DRAWS = 5
_MISTAKES = 12


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier said about test images.

    Attributes:
        classes: names.
        labels: (N,) the truth.
        probabilities: (N, C).
        paths: of the images.
    """

    classes: tuple[str, ...]
    labels: Tensor
    probabilities: Tensor
    paths: tuple[Path, ...]


def evaluation_blocks(answers: Answers, calibration: Reliability) -> tuple[Block, ...]:
    """Per-class figures, confusion matrix, reliability diagram and confident mistakes."""
    said = answers.probabilities.argmax(1)
    return (_per_class(answers, said), _confusion(answers, said), _reliability(calibration), *_mistakes(answers, said))


def few_shot_curve(
    classifier: ImageClassifier,
    blocks: Sequence[Tensor],
    labels: Tensor,
    train: Tensor,
    test: Tensor,
    head: Head,
    session: Session,
) -> tuple[Curves, dict[str, float]]:
    """Test accuracy against training images of each class, and the same as metrics."""
    sides = [([block[rows] for block in blocks], labels[rows]) for rows in (train, test)]
    smallest = int(labels[train].bincount().min())
    shots = sorted({shot for shot in _SHOTS if shot < smallest} | {min(smallest, _SHOTS[-1])})
    kind = cast("NormalisationKind", classifier.normalisation)
    found = few_shot(sides[0], sides[1], head, kind, shots=shots, draws=_DRAWS, rng=session.rng("few-shot"))
    means = np.array([np.mean(values) for values in found.values()])
    intervals = [
        statistics.over_seeds(v) if len(v) > 1 else statistics.Estimate(v[0], v[0], v[0]) for v in found.values()
    ]
    series = Series(
        "test accuracy",
        np.array(list(found)),
        means,
        np.array([interval.low for interval in intervals]),
        np.array([interval.high for interval in intervals]),
    )
    curves = Curves(
        (series,),
        "training images of each class",
        "test accuracy",
        title="How few images would do",
        caption=f"Mean of {_DRAWS} random draws of training images, with its 95 % interval.",
        x_scale="log",
    )
    return curves, {f"accuracy/shots/{shot}": float(mean) for shot, mean in zip(found, means, strict=True)}


def map_of_features(
    classifier: ImageClassifier,
    blocks: Sequence[Tensor],
    labels: Tensor,
    classes: Sequence[str],
    rows: Tensor,
    session: Session,
    *,
    tsne: bool,
) -> Curves:
    """The test images' features in the plane, a colour for each class."""
    features = join(classifier.fitted_.normalisations, [block[rows] for block in blocks])
    points = plane(features, seed=session.seed, tsne=tsne)
    series = tuple(
        Series(name, points[chosen, 0], points[chosen, 1], style="points")
        for number, name in enumerate(classes)
        for chosen in [(labels[rows] == number).numpy()]
    )
    axes = ("t-SNE 1", "t-SNE 2") if tsne else ("first principal component", "second principal component")
    return Curves(series, *axes, title="Test images in feature space", caption="Each point is a test image.")


def _per_class(answers: Answers, said: Tensor) -> Table:
    from sklearn.metrics import precision_recall_fscore_support

    numbers = range(len(answers.classes))
    columns: Any = precision_recall_fscore_support(answers.labels, said, labels=list(numbers), zero_division=0.0)  # pyright: ignore[reportArgumentType]
    rows = tuple(
        (name, *(float(column[number]) for column in columns[:3]), int(columns[3][number]))
        for number, name in enumerate(answers.classes)
    )
    return Table(
        (
            Column("class"),
            Column("precision", ".3f"),
            Column("recall", ".3f"),
            Column("F1", ".3f"),
            Column("test images", "d"),
        ),
        rows,
        title="Each class",
    )


def _confusion(answers: Answers, said: Tensor) -> Heatmap:
    from sklearn.metrics import confusion_matrix

    matrix = confusion_matrix(answers.labels, said, labels=list(range(len(answers.classes))))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    return Heatmap(
        shares,
        title="Confusion",
        caption="Share of each class's test images (row) that were given each answer (column).",
        low=0,
        high=1,
        rows=answers.classes,
        columns=answers.classes,
        row_title="truth",
        column_title="answer",
    )


def _reliability(calibration: Reliability) -> Curves:
    return Curves(
        (
            Series("perfect", np.array([0.0, 1.0]), np.array([0.0, 1.0])),
            Series("this classifier", calibration.confidence, calibration.accuracy),
        ),
        "confidence",
        "accuracy",
        title="Can its confidence be believed?",
        caption=f"Expected calibration error {calibration.error:.3f}, over bins of equal width.",
    )


def _mistakes(answers: Answers, said: Tensor) -> tuple[ImageGrid, ...]:
    confidence = answers.probabilities.max(1).values.masked_fill(said == answers.labels, -1)
    worst = [row for row in confidence.argsort(descending=True)[:_MISTAKES].tolist() if confidence[row] >= 0]
    cells = [
        photograph(
            answers.paths[row],
            caption=f"{answers.classes[said[row]]} ({confidence[row]:.0%}), is {answers.classes[answers.labels[row]]}",
            show=Preprocessing(resize=160, crop=160),
        )
        for row in worst
    ]
    rows = tuple(tuple(cells[at : at + 4]) for at in range(0, len(cells), 4))
    return (ImageGrid(rows, title="Most confident mistakes"),) if rows else ()
