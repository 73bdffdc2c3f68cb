"""Figures of a classifier's predictions on test images: per class, confusion, calibration, worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from deepscope import statistics
from deepscope.presenters.shown import missing, picture
from deepscope.results import Block, Cell, Column, Curves, Heatmap, ImageGrid, Note, Series, Table
from deepscope.transfer.evaluation import Answers, Reliability
from deepscope.transfer.fit import FittedClassifier
from deepscope.transfer.measuring import Row
from deepscope.transfer.on_splits import OnSplits
from deepscope.transfer.splits import Split


def evaluation_blocks(answers: Answers, calibration: Reliability) -> tuple[Block, ...]:
    """Per-class figures, confusion matrix, reliability diagram, and the confident mistakes whose images can be read."""
    predicted = answers.predicted
    return (
        _per_class(answers, predicted),
        _confusion(answers, predicted),
        _reliability(calibration),
        *_mistakes(answers, predicted),
    )


def copies_note(splits: Sequence[Split]) -> tuple[Note, ...]:
    """How many test images are copies of training images."""
    count = sum(int(split.copied.sum()) for split in splits)
    if not count:
        return (Note("No test image is a copy of a training image.", "Copies"),)
    of = f"of {len(splits)} splits together " if len(splits) > 1 else ""
    text = f"{count} test images {of}are copies of training images: accuracy is also given without them."
    return (Note(text, "Copies", "warning"),)


ROW_COLUMNS = (
    Column("dimension", "d"),
    Column("chosen"),
    Column("cross-validated", ".3f"),
    Column("test accuracy", ".3f"),
    Column("95 % interval"),
    Column("without copies", ".3f"),
    Column("p", ".2g"),
)
"""Columns of `row_cells`."""


def row_cells(row: Row, p: float | None) -> tuple[Cell, ...]:
    """What a recipe and head gave, in a table."""
    return (
        row.dimension,
        row.setting,
        None if math.isnan(row.validation) else row.validation,
        row.accuracy.value,
        f"{row.accuracy.low:.3f} - {row.accuracy.high:.3f}",
        row.without_copies.value,
        p,
    )


def best_metrics(found: OnSplits) -> dict[str, float]:
    """Accuracies of the best row."""
    best = found.rows[found.best]
    return best.accuracy.metrics("accuracy") | best.without_copies.metrics("accuracy-without-copies")


def shots_curve(fitted: FittedClassifier) -> Curves:
    """Test accuracy against training images per class."""
    intervals = [statistics.over_seeds(values) for values in fitted.shots.values()]
    series = Series(
        "test accuracy",
        np.array(list(fitted.shots)),
        np.array([interval.value for interval in intervals]),
        np.array([interval.low for interval in intervals]),
        np.array([interval.high for interval in intervals]),
    )
    return Curves(
        (series,),
        "training images per class",
        "test accuracy",
        title="Accuracy by number of training images",
        caption=f"Mean of {fitted.draws} random draws of training images, with its 95 % interval.",
        x_scale="log",
    )


def map_of_features(fitted: FittedClassifier) -> Curves:
    """The test images' features in the plane, one colour per class."""
    labels = fitted.answers.labels.numpy()
    series = tuple(
        Series(name, *fitted.places[labels == number].T, style="points")
        for number, name in enumerate(fitted.answers.classes)
    )
    axes = ("t-SNE 1", "t-SNE 2") if fitted.tsne else ("first principal component", "second principal component")
    return Curves(series, *axes, title="Test images in feature space", caption="Each point is a test image.")


def _per_class(answers: Answers, predicted: Tensor) -> Table:
    from sklearn.metrics import precision_recall_fscore_support

    numbers = range(len(answers.classes))
    columns: Any = precision_recall_fscore_support(answers.labels, predicted, labels=list(numbers), zero_division=0.0)  # pyright: ignore[reportArgumentType]
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
        title="Per class",
        kind="classes",
    )


def _confusion(answers: Answers, predicted: Tensor) -> Heatmap:
    from sklearn.metrics import confusion_matrix

    matrix = confusion_matrix(answers.labels, predicted, labels=list(range(len(answers.classes))))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    return Heatmap(
        shares,
        title="Confusion",
        caption="Share of each class's test images (row) that were predicted as each class (column).",
        low=0,
        high=1,
        rows=answers.classes,
        columns=answers.classes,
        row_title="true",
        column_title="predicted",
    )


def _reliability(calibration: Reliability) -> Curves:
    return Curves(
        (
            Series("perfect", np.array([0.0, 1.0]), np.array([0.0, 1.0])),
            Series("this classifier", calibration.confidence, calibration.accuracy),
        ),
        "confidence",
        "accuracy",
        title="Calibration",
        caption=f"Expected calibration error {calibration.error:.3f}, over bins of equal width.",
    )


def _mistakes(answers: Answers, predicted: Tensor) -> tuple[ImageGrid, ...]:
    cells = []
    for row, pixels in answers.pictures.items():
        said, true = answers.classes[predicted[row]], answers.classes[answers.labels[row]]
        caption = f"{said} ({100 * float(answers.probabilities[row].max()):.0f} %), is {true}"
        cells.append(missing(caption=caption) if pixels is None else picture(pixels, caption=caption))
    rows = tuple(tuple(cells[at : at + 4]) for at in range(0, len(cells), 4))
    return (ImageGrid(rows, title="Most confident mistakes"),) if rows else ()
