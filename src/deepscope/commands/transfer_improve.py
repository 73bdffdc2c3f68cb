"""`deepscope transfer improve`: improve transferred features, one change at a time."""

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
    """Test improvements of transferred features one at a time, each with its rationale and its effect.

    The baseline is a linear SVM on the L2-normalised features of the model's last layer. Every idea changes one
    thing and is compared with the baseline on the same test images. The marked row is the one that cross-validation
    on the training images prefers.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder per class; or a dataset's name.
        model: whose features are improved.
        others: models whose features are concatenated to it; those whose weights are missing are left out.
        fine_tune: epochs of fine-tuning, measured on the first split only; 0 skips that idea. An epoch over a
            thousand images takes minutes on a CPU.
        learning_rate: of fine-tuning.
        splits: 1 uses the split of the data; more draw that many stratified splits.
        test_fraction: share of test images where the data has no split.
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
    """A table of ideas, and the effect of each."""
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
    """The rationale of each idea and its effect, derived from the numbers."""
    baseline, notes = found.rows[0].accuracy.value, []
    for idea, row, p in list(zip(found.ideas, found.rows, found.p_values, strict=True))[1:]:
        gain = row.accuracy.value - baseline
        seen = f"{gain:+.1%} on the test images (p = {p:.2g})"
        verdict = f"No significant effect: {seen}." if p >= 0.05 else f"It {'helps' if gain > 0 else 'hurts'}: {seen}."
        notes.append(Note(f"{idea.reasoning} {verdict}", idea.name, "verdict"))
    return notes
