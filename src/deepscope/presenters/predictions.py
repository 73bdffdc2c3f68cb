"""How the predictions of a classifier for new images are shown: a row per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepscope.classification import Classification
from deepscope.names import counted
from deepscope.presenters.classify import abstention_notes
from deepscope.presenters.shown import by_class, origin, skipped_blocks
from deepscope.results import Cell, Column, Note, Result, Table


def predictions(
    found: Classification,
    metrics: Mapping[str, float],
    *,
    label: str = "class",
    remarks: Sequence[str] | None = None,
    notes: Sequence[Note] = (),
) -> Result:
    """Each image with its most probable class.

    Args:
        found: of all classes of the model.
        metrics: beside the numbers of images and of skipped inputs.
        label: title of the column of classes.
        remarks: on each image, in a column of their own.
        notes: below the table.
    """
    rows: list[tuple[Cell, ...]] = [
        (str(path), name, probability)
        for path, name, probability in zip(found.paths, found.labels, found.probabilities[:, 0].tolist(), strict=True)
    ]
    columns = [Column("image"), Column(label), Column("probability", ".3f")]
    if remarks is not None:
        columns.append(Column(""))
        rows = [(*row, remark) for row, remark in zip(rows, remarks, strict=True)]
    return Result(
        title=f"{found.model.name} on {counted(len(found), 'image')}",
        metrics={"images": len(found), "skipped": len(found.skipped), **metrics},
        blocks=(Table(tuple(columns), tuple(rows)), *abstention_notes(found), *notes, *skipped_blocks(found.skipped)),
        arrays={"probabilities": by_class(found).numpy(), "classes": found.classes[:, 0].numpy()},
        provenance=origin([found.model], found.paths, found.digests),
    )
