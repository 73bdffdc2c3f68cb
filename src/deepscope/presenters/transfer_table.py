"""How the result of `deepscope transfer table` is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.presenters.transfer_figures import ROW_COLUMNS, best_metrics, copies_note, row_cells
from deepscope.render import presents
from deepscope.results import Block, Cell, Column, Note, Result, Table
from deepscope.transfer.compare import FeatureComparison
from deepscope.transfer.measuring import Row
from deepscope.transfer.splits import Split

PUBLISHED = {
    ("vgg16@relu6", "raw"): 0.906,
    ("vgg16@relu6", "l2"): 0.912,
    ("vgg16@relu7", "raw"): 0.896,
    ("vgg16@relu7", "l2"): 0.896,
    ("vgg16@relu8", "raw"): 0.861,
    ("vgg16@relu8", "l2"): 0.880,
}
"""Table 1.1 of the report (Delefosse and Vin), on 15-Scene: accuracy by layer and normalisation."""


@presents(FeatureComparison)
def present(found: FeatureComparison) -> Result:
    """The table of features, and accuracies by layer."""
    title = f"Features for {found.data.name}: {len(found.data.classes)} classes, {_sizes(found.splits)}"
    return Result(
        title=title,
        metrics=comparison_metrics(found),
        blocks=(features_table(found, title), *comparison_notes(found)),
        arrays={f"right/{key(row)}": np.stack(row.correct) for row in found.rows if len(row.correct) == 1},
        provenance=origin(found.models.values(), found.data.paths, found.digests),
    )


_COLUMNS = (
    Column("features"),
    Column("normalisation"),
    Column("head"),
    *ROW_COLUMNS,
    Column("published", ".3f"),
    Column("seconds", ".1f"),
)


_CAPTION = (
    "The marked row has the highest cross-validated accuracy on the training images. A dash: not measured. p: paired "
    "with the marked row, adjusted for all rows together. Published: Table 1.1 of the report (Delefosse and Vin), on "
    "15-Scene."
)


def key(row: Row) -> str:
    """The name of a row in the metrics: MODEL/LAYER/NORMALISATION, and the head where it is not the SVM."""
    name = str(row.recipe).replace("@", "/", 1) if len(row.recipe.blocks) == 1 else str(row.recipe)
    head = "" if row.head.name == "linear-svc" else f"/{row.head.name}"
    return f"{name}/{row.recipe.normalisation}{head}"


def features_table(found: FeatureComparison, title: str, *, unmeasured: Sequence[tuple[str, str]] = ()) -> Table:
    """A row per recipe and head, measured or not; the best one is marked.

    Args:
        found: the comparison.
        title: of the table.
        unmeasured: layers and normalisations of Table 1.1 that stand above, without figures of our own.
    """
    measured = {(row.recipe, row.head): place for place, row in enumerate(found.rows)}
    rows: list[tuple[Cell, ...]] = [(*case, "linear-svc", *(None,) * 7, PUBLISHED[case], None) for case in unmeasured]
    for recipe, head in found.compared:
        published = PUBLISHED.get((str(recipe), recipe.normalisation)) if head.name == "linear-svc" else None
        start = (str(recipe), recipe.normalisation, head.name)
        place = measured.get((recipe, head))
        rows.append(
            (*start, *(None,) * 7, published, None) if place is None else _cells(found, place, start, published)
        )
    best = found.rows[found.best]
    mark = len(unmeasured) + found.compared.index((best.recipe, best.head))
    return Table(_COLUMNS, tuple(rows), title=title, caption=_CAPTION, mark=mark)


def _cells(
    found: FeatureComparison, place: int, start: tuple[str, str, str], published: float | None
) -> tuple[Cell, ...]:
    row = found.rows[place]
    return *start, *row_cells(row, found.p_values[place]), published, row.seconds


def comparison_metrics(found: FeatureComparison) -> Mapping[str, float]:
    """Accuracies of every row and of the best one."""
    metrics: dict[str, float] = {}
    for row in found.rows:
        metrics |= row.accuracy.metrics(f"accuracy/{key(row)}")
        metrics |= row.without_copies.metrics(f"accuracy-without-copies/{key(row)}")
        metrics[f"validation/{key(row)}"] = row.validation
    metrics |= best_metrics(found)
    metrics["copies-across-splits"] = sum(int(split.copied.sum()) for split in found.splits) / len(found.splits)
    return metrics


def comparison_notes(found: FeatureComparison) -> tuple[Block, ...]:
    """What could not be measured, copies across the splits, and what could not be read."""
    return (
        *(Note(reason, "Not measured") for reason in dict.fromkeys(found.absent.values())),
        *copies_note(found.splits),
        *skipped_blocks(found.skipped),
    )


def _sizes(splits: Sequence[Split]) -> str:
    many = f", {len(splits)} splits" if len(splits) > 1 else ""
    return f"{len(splits[0].train)} training and {len(splits[0].test)} test images{many}"
