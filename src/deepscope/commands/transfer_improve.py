"""`deepscope transfer improve`: what makes transferred features better, one idea at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from deepscope.commands.command import Command
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.commands.transfer_table import copies_note
from deepscope.data import ClassFolders, load_dataset
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import Column, Note, Result, Table
from deepscope.session import Session
from deepscope.settings import Count, Positive, ProperShare
from deepscope.transfer.features import gather
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.heads import Head
from deepscope.transfer.improvements import Improvement, improvements
from deepscope.transfer.splits import divide
from deepscope.transfer.table import Row, chosen, measure, measure_tuned, p_value


@dataclass(frozen=True)
class TransferImprove(Command):
    """Test improvements of transferred features one at a time, each with its reasoning and its effect.

    The baseline is the model's last layer, each vector divided by its norm, below a linear SVM. Every idea changes
    one thing; its effect is compared with the baseline on the same test images. Which one to use is decided by
    cross-validation on the training images: the marked row.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder for each class; or a dataset's name.
        model: whose features are improved.
        others: models that are joined to it; those that are not here are left out.
        fine_tune: epochs of fine-tuning, measured on the first split alone; 0 leaves that idea out. Minutes an epoch
            on a CPU for a thousand images.
        learning_rate: of fine-tuning.
        splits: 1 takes the data's own split, more draw that many stratified ones.
        test_fraction: share of test images where the data has no split of its own.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "improve"
    example: ClassVar[str] = "deepscope transfer improve 15scene --precision bfloat16"

    data: str
    _: KW_ONLY
    model: str = DEFAULT
    others: tuple[str, ...] = ("efficientnet_lite2", "vgg16")
    fine_tune: int = FineTuning.epochs
    learning_rate: Positive = FineTuning.rate
    splits: Count = 1
    test_fraction: ProperShare = 0.3

    def run(self, session: Session) -> Result:
        """Measure the baseline and every idea."""
        data = load_dataset(self.data, session, ClassFolders)
        models, absent = _open(self.model, self.others, session)
        fine_tuning = FineTuning(self.fine_tune, self.learning_rate) if self.fine_tune else None
        ideas = [replace(idea, recipe=idea.recipe.named(models)) for idea in improvements(models, fine_tuning)]
        everything = data.everything
        features = gather([idea.recipe for idea in ideas], models, everything.paths, session)
        labels = everything.labels[features.rows]
        splits = divide(data, features.rows, session, splits=self.splits, test_fraction=self.test_fraction)
        paths = [everything.paths[row] for row in features.rows]

        def measured(idea: Improvement) -> Row:
            head = Head.named(idea.head)
            if not idea.fine_tuning:
                return measure(idea.recipe, head, features, labels, splits, session)
            folder = session.out / "training" if session.out else None
            tuning = idea.fine_tuning
            return measure_tuned(idea.recipe, head, tuning, features, paths, labels, splits[0], session, folder=folder)

        rows = [measured(idea) for idea in session.track(ideas, "fitting")]
        mark = chosen(rows)
        metrics: dict[str, float] = {}
        for idea, row in zip(ideas, rows, strict=True):
            metrics |= row.accuracy.metrics(f"accuracy/{idea.name}")
            metrics[f"validation/{idea.name}"] = row.validation
            metrics[f"p/{idea.name}"] = p_value(row, rows[0])
        metrics |= rows[mark].accuracy.metrics("accuracy")
        metrics |= rows[mark].without_copies.metrics("accuracy-without-copies")
        return Result(
            title=f"Improving {self.model} on {data.root.name}",
            metrics=metrics,
            blocks=(
                _table(ideas, rows, mark),
                *(_comment(idea, row, rows[0]) for idea, row in zip(ideas[1:], rows[1:], strict=True)),
                *(Note(reason, "Left out") for reason in absent),
                *copies_note(splits),
                *skipped_blocks((*data.skipped, *features.skipped)),
            ),
            provenance=provenance(models.values(), everything.paths),
        )


def _open(name: str, others: Sequence[str], session: Session) -> tuple[dict[str, VisionModel], list[str]]:
    models, absent = {name: load_model(name, session)}, []
    for other in others:
        try:
            models[other] = load_model(other, session)
        except DeepscopeError as error:
            absent.append(str(error))
    return models, absent


def _table(ideas: Sequence[Improvement], rows: Sequence[Row], mark: int) -> Table:
    return Table(
        (
            Column("idea"),
            Column("dimension", "d"),
            Column("chosen"),
            Column("cross-validated", ".3f"),
            Column("test accuracy", ".3f"),
            Column("95 % interval"),
            Column("without copies", ".3f"),
            Column("p", ".2g"),
            Column("seconds", ".1f"),
        ),
        tuple(
            (
                idea.name,
                row.dimension,
                row.setting,
                row.validation,
                row.accuracy.value,
                f"{row.accuracy.low:.3f} - {row.accuracy.high:.3f}",
                row.without_copies.value,
                None if row is rows[0] else p_value(row, rows[0]),
                row.seconds,
            )
            for idea, row in zip(ideas, rows, strict=True)
        ),
        title="One idea at a time",
        caption="Marked: what cross-validation on the training images prefers. p: paired with the baseline.",
        mark=mark,
    )


def _comment(idea: Improvement, row: Row, baseline: Row) -> Note:
    """The reasoning, and what came of it, in words that follow from the numbers."""
    gain, p = row.accuracy.value - baseline.accuracy.value, p_value(row, baseline)
    seen = f"{gain:+.1%} on the test images (p = {p:.2g})"
    if p >= 0.05:
        verdict = f"No effect can be told from chance: {seen}."
    else:
        verdict = f"It {'helps' if gain > 0 else 'hurts'}: {seen}."
    return Note(f"{idea.reasoning} {verdict}", idea.name, "verdict")
