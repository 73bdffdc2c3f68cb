"""`deepscope transfer table`: which layer of which network makes the best features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

import numpy as np

from deepscope.commands.command import Command
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.data import ClassFolders, load_dataset
from deepscope.errors import DeepscopeError
from deepscope.models import VisionModel, load_model
from deepscope.models.classifier import NormalisationKind
from deepscope.results import Block as ShownBlock
from deepscope.results import Cell, Column, Note, Result, Table
from deepscope.session import Session
from deepscope.settings import Count, ProperShare, Range, Side
from deepscope.transfer.features import gather
from deepscope.transfer.greyscale import Grey, fold_greyscale
from deepscope.transfer.heads import Head
from deepscope.transfer.layers import require
from deepscope.transfer.recipe import Recipe
from deepscope.transfer.splits import Split, divide
from deepscope.transfer.table import Row, chosen, measure, p_value

PUBLISHED = {
    ("vgg16@relu6", "raw"): 0.906,
    ("vgg16@relu6", "l2"): 0.912,
    ("vgg16@relu7", "raw"): 0.896,
    ("vgg16@relu7", "l2"): 0.896,
    ("vgg16@relu8", "raw"): 0.861,
    ("vgg16@relu8", "l2"): 0.880,
}
"""Table 1.1 of the source, on 15-Scene."""

_DEFAULT = (
    "vgg16@relu6",
    "vgg16@relu7",
    "vgg16@relu8",
    "vgg16@pool5",
    "vgg16@pool5:flatten",
    "squeezenet1_0",
    "efficientnet_lite0",
)


@dataclass(frozen=True)
class TransferTable(Command):
    """Compare layers and networks as features for a linear classifier on a person's own classes.

    Each row's regularisation is chosen by cross-validation on the training images; the marked row is the one
    that cross-validation prefers. Accuracy is on the test images, with its 95 % interval, and once more without
    those that are copies of training images. p compares a row with the marked one on the same test images.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder for each class; or a dataset's name.
        features: MODEL, MODEL@LAYER or MODEL@LAYER:POOLING (mean, max, flatten, pyramid); + joins several. Without
            any, the layers of the source's Table 1.1 and the last layers of the models at hand.
        normalisations: of the features: raw, l2, power, standard or whiten.
        heads: linear-svc, logistic-regression, ridge or nearest-neighbours.
        splits: 1 takes the data's own split, more draw that many stratified ones of the same proportion.
        test_fraction: share of test images where the data has no split of its own.
        size: side of the networks' input; by default each network's own.
        flip: average features over each image and its mirror image.
        scales: average features over inputs of these relative sizes.
        grey: how grey images meet a network for colour: replicate copies them into its three channels; fold and
            average give its first convolution one channel, with the sum or the mean of the three's weights.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "table"
    example: ClassVar[str] = "deepscope transfer table 15scene --precision bfloat16"

    data: str
    _: KW_ONLY
    features: tuple[str, ...] = _DEFAULT
    normalisations: tuple[NormalisationKind, ...] = ("raw", "l2")
    heads: tuple[str, ...] = ("linear-svc",)
    splits: Count = 1
    test_fraction: ProperShare = 0.3
    size: Side | None = None
    flip: bool = False
    scales: tuple[Annotated[float, Range(most=16, above=True)], ...] = (1.0,)
    grey: Grey = "replicate"

    def run(self, session: Session) -> Result:
        """Extract, fit, compare."""
        heads = [Head.named(name) for name in self.heads]
        recipes = [
            Recipe.parse(text, normalisation=kind, size=self.size, flip=self.flip, scales=self.scales)
            for text in self.features
            for kind in self.normalisations
        ]
        if not recipes or not heads:
            raise DeepscopeError("nothing to compare: give at least one of --features, --normalisations and --heads")
        data = load_dataset(self.data, session, ClassFolders)
        models, absent = _open(recipes, session)
        models = {name: fold_greyscale(model, self.grey) for name, model in models.items()}
        measurable = [r.named(models) if r not in absent else r for r in recipes]
        wanted = [recipe for recipe in measurable if recipe not in absent]
        if not wanted:
            raise DeepscopeError(next(iter(absent.values())))
        everything = data.everything
        features = gather(wanted, models, everything.paths, session)
        labels = everything.labels[features.rows]
        splits = divide(data, features.rows, session, splits=self.splits, test_fraction=self.test_fraction)
        cases = [(recipe, head) for recipe in wanted for head in heads]
        measured = [
            measure(recipe, head, features, labels, splits, session) for recipe, head in session.track(cases, "fitting")
        ]
        mark = chosen(measured)
        shown = {(row.recipe, row.head): row for row in measured}
        everywhere = [(recipe, head) for recipe in measurable for head in heads]
        rows = tuple(_cells(recipe, head, shown.get((recipe, head)), measured[mark]) for recipe, head in everywhere)
        best = everywhere.index((measured[mark].recipe, measured[mark].head))
        title = f"Features for {data.root.name}: {len(data.classes)} classes, {_sizes(splits)}"
        return Result(
            title=title,
            metrics=_metrics(measured, measured[mark], splits),
            blocks=(
                Table(_COLUMNS, rows, title=title, caption=_CAPTION, mark=best),
                *_notes(absent),
                *copies_note(splits),
                *skipped_blocks((*data.skipped, *features.skipped)),
            ),
            arrays={f"right/{key(row)}": np.stack(row.right) for row in measured if len(row.right) == 1},
            provenance=provenance(models.values(), everything.paths),
        )


_COLUMNS = (
    Column("features"),
    Column("normalisation"),
    Column("head"),
    Column("dimension", "d"),
    Column("chosen"),
    Column("cross-validated", ".3f"),
    Column("test accuracy", ".3f"),
    Column("95 % interval"),
    Column("without copies", ".3f"),
    Column("p", ".2g"),
    Column("published", ".3f"),
    Column("seconds", ".1f"),
)

_CAPTION = (
    "The marked row has the highest cross-validated accuracy on the training images. A dash: not measured. p: paired "
    "with the marked row. Published: Table 1.1 of the source, on 15-Scene."
)


def key(row: Row) -> str:
    """What a row is called in the metrics: MODEL/LAYER/NORMALISATION, and the head where it is not the SVM."""
    name = str(row.recipe).replace("@", "/", 1) if len(row.recipe.blocks) == 1 else str(row.recipe)
    head = "" if row.head.name == "linear-svc" else f"/{row.head.name}"
    return f"{name}/{row.recipe.normalisation}{head}"


def copies_note(splits: Sequence[Split]) -> tuple[ShownBlock, ...]:
    """How many test images are copies of training images."""
    count = sum(int(split.copied.sum()) for split in splits)
    if not count:
        return (Note("No test image is a copy of a training image.", "Copies"),)
    of = f"of {len(splits)} splits together " if len(splits) > 1 else ""
    text = f"{count} test images {of}are copies of training images: accuracy is also given without them."
    return (Note(text, "Copies", "warning"),)


def _open(recipes: Sequence[Recipe], session: Session) -> tuple[dict[str, VisionModel], dict[Recipe, str]]:
    """The models; and the recipes of the default list whose weights are not here, with the reason."""
    models: dict[str, VisionModel] = {}
    absent: dict[Recipe, str] = {}
    for recipe in recipes:
        try:
            for block in recipe.blocks:
                if block.model not in models:
                    models[block.model] = load_model(block.model, session)
                if block.layer:
                    require(models[block.model], block.layer)
        except DeepscopeError as error:
            if str(recipe) not in _DEFAULT:
                raise
            absent[recipe] = str(error)
    return models, absent


def _cells(recipe: Recipe, head: Head, row: Row | None, best: Row) -> tuple[Cell, ...]:
    published = PUBLISHED.get((str(recipe), recipe.normalisation)) if head.name == "linear-svc" else None
    start: tuple[Cell, ...] = (str(recipe), recipe.normalisation, head.name)
    if row is None:
        return (*start, *(None,) * 7, published, None)
    validation = None if math.isnan(row.validation) else row.validation
    accuracy = row.accuracy
    return (
        *start,
        row.dimension,
        row.setting,
        validation,
        accuracy.value,
        f"{accuracy.low:.3f} - {accuracy.high:.3f}",
        row.without_copies.value,
        None if row is best else p_value(row, best),
        published,
        row.seconds,
    )


def _metrics(rows: Sequence[Row], best: Row, splits: Sequence[Split]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for row in rows:
        metrics |= row.accuracy.metrics(f"accuracy/{key(row)}")
        metrics |= row.without_copies.metrics(f"accuracy-without-copies/{key(row)}")
        metrics[f"validation/{key(row)}"] = row.validation
    metrics |= best.accuracy.metrics("accuracy")
    metrics |= best.without_copies.metrics("accuracy-without-copies")
    metrics["copies-across-splits"] = sum(int(split.copied.sum()) for split in splits) / len(splits)
    return metrics


def _notes(absent: dict[Recipe, str]) -> tuple[Note, ...]:
    reasons = dict.fromkeys(absent.values())
    return tuple(Note(reason, "Not measured") for reason in reasons)


def _sizes(splits: Sequence[Split]) -> str:
    many = f", {len(splits)} splits" if len(splits) > 1 else ""
    return f"{len(splits[0].train)} training and {len(splits[0].test)} test images{many}"
