"""How an evaluation of several labels per image is shown."""

from __future__ import annotations

from deepscope.classification import LabelEvaluation
from deepscope.names import counted
from deepscope.results import Block, Column, Note, Table


def said(found: LabelEvaluation) -> str:
    """The mean average precision, in a sentence."""
    shown = sum(score.images > 0 for score in found.scores)
    over = f"{counted(shown, 'label')} on {counted(found.images, 'image')}"
    return (
        f"Mean average precision {found.mean_average_precision} over {over} (95 % bootstrap); all labels of an "
        f"image are right on {found.exact} of them (95 % Wilson)."
    )


def labels_blocks(found: LabelEvaluation) -> tuple[Block, ...]:
    """The mean average precision, and a row per label."""
    return (Note(said(found), "Average precision"), label_table(found))


def label_table(found: LabelEvaluation) -> Table:
    """A row per label, the one with the lowest average precision first; those that no image shows are left out."""
    shown = sorted((score for score in found.scores if score.images), key=lambda score: score.average_precision.value)
    rows = tuple(
        (
            found.model.categories[score.label],
            score.images,
            score.average_precision.value,
            score.average_precision.low,
            score.average_precision.high,
            score.threshold,
            None if score.precision.value != score.precision.value else score.precision.value,
            score.recall.value,
        )
        for score in shown
    )
    columns = (
        *(Column("label"), Column("images", "d"), Column("AP", ".3f")),
        *(Column("low", ".3f"), Column("high", ".3f"), Column("threshold", ".3g")),
        *(Column("precision", ".3f"), Column("recall", ".3f")),
    )
    absent = [found.model.categories[score.label] for score in found.scores if not score.images]
    left_out = f" No image shows {', '.join(absent[:6])}{' and others' * (len(absent) > 6)}." if absent else ""
    caption = (
        f"Precision and recall at the threshold; low, high: 95 % bootstrap of the average precision (AP).{left_out}"
    )
    return Table(columns, rows, title="Each label", caption=caption, kind="classes")
