"""`deepscope transfer improve`: what makes transferred features better, one idea at a time."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.commands.command import Command
from deepscope.commands.shown import origin, skipped_blocks
from deepscope.commands.transfer_figures import copies_note
from deepscope.models import DEFAULT
from deepscope.render import presents
from deepscope.results import Column, Note, Result, Table
from deepscope.session import Session
from deepscope.settings import Count, Positive, ProperShare
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.improve import Improvements, improve
from deepscope.transfer.splits import Holdout


@dataclass(frozen=True)
class TransferImprove(Command):
    """Test improvements of transferred features one at a time, each with its reasoning and its effect.

    The baseline is the model's last layer, each vector divided by its norm, below a linear SVM. Every idea changes
    one thing; its effect is compared with the baseline on the same test images. Which one to use is decided by
    cross-validation on the training images: the marked row.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder per class; or a dataset's name.
        model: whose features are improved.
        others: models that are joined to it; those whose weights are missing are left out.
        fine_tune: epochs of fine-tuning, measured on the first split alone; 0 leaves that idea out. An epoch over a
            thousand images takes minutes on a CPU.
        learning_rate: of fine-tuning.
        splits: 1 uses the data's own split; more draw that many stratified ones.
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
        return present(
            improve(
                self.data,
                self.model,
                others=self.others,
                fine_tuning=FineTuning(self.fine_tune, self.learning_rate) if self.fine_tune else None,
                holdout=Holdout(self.splits, self.test_fraction),
                folder=session.out / "training" if session.out else None,
                session=session,
            )
        )


@presents(Improvements)
def present(found: Improvements) -> Result:
    """A table of ideas, and what came of each."""
    return Result(
        title=f"Improving {found.model} on {found.data.name}",
        metrics=improvement_metrics(found),
        blocks=(
            ideas_table(found),
            *idea_notes(found),
            *(Note(reason, "Left out") for reason in found.absent),
            *copies_note(found.splits),
            *skipped_blocks(found.skipped),
        ),
        provenance=origin(found.models.values(), found.data.paths, found.digests),
    )


def improvement_metrics(found: Improvements) -> dict[str, float]:
    """Accuracies of every idea and of the best one."""
    metrics: dict[str, float] = {}
    for idea, row, p in zip(found.ideas, found.rows, found.p_values, strict=True):
        metrics |= row.accuracy.metrics(f"accuracy/{idea.name}")
        metrics[f"validation/{idea.name}"] = row.validation
        metrics[f"p/{idea.name}"] = p
    metrics |= found.rows[found.best].accuracy.metrics("accuracy")
    metrics |= found.rows[found.best].without_copies.metrics("accuracy-without-copies")
    return metrics


def ideas_table(found: Improvements) -> Table:
    """A row per idea; the best one is marked."""
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
                None if row is found.rows[0] else p,
                row.seconds,
            )
            for idea, row, p in zip(found.ideas, found.rows, found.p_values, strict=True)
        ),
        title="One idea at a time",
        caption="Marked: what cross-validation on the training images prefers. p: paired with the baseline.",
        mark=found.best,
    )


def idea_notes(found: Improvements) -> list[Note]:
    """The reasoning behind each idea, and what came of it, in words that follow from the numbers."""
    baseline, notes = found.rows[0].accuracy.value, []
    for idea, row, p in list(zip(found.ideas, found.rows, found.p_values, strict=True))[1:]:
        gain = row.accuracy.value - baseline
        seen = f"{gain:+.1%} on the test images (p = {p:.2g})"
        verdict = (
            f"No effect can be told from chance: {seen}."
            if p >= 0.05
            else f"It {'helps' if gain > 0 else 'hurts'}: {seen}."
        )
        notes.append(Note(f"{idea.reasoning} {verdict}", idea.name, "verdict"))
    return notes
