"""How the result of `deepscope transfer improve` is shown."""

from __future__ import annotations

from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.presenters.transfer_figures import ROW_COLUMNS, best_metrics, copies_note, row_cells
from deepscope.render import presents
from deepscope.render.text import p_value
from deepscope.results import Column, Note, Result, Table
from deepscope.transfer.improve import Improvements


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
    return metrics | best_metrics(found)


def ideas_table(found: Improvements) -> Table:
    """A row per idea; the best one is marked."""
    return Table(
        (Column("idea"), *ROW_COLUMNS, Column("seconds", ".1f")),
        tuple(
            (idea.name, *row_cells(row, None if row is found.rows[0] else p), row.seconds)
            for idea, row, p in zip(found.ideas, found.rows, found.p_values, strict=True)
        ),
        title="One idea at a time",
        caption="Marked: what cross-validation on the training images prefers. p: paired with the baseline, adjusted "
        "for all ideas together.",
        mark=found.best,
    )


def idea_notes(found: Improvements) -> list[Note]:
    """The rationale of each idea and its effect, derived from the numbers."""
    baseline, notes = found.rows[0].accuracy.value, []
    for idea, row, p in list(zip(found.ideas, found.rows, found.p_values, strict=True))[1:]:
        gain = row.accuracy.value - baseline
        seen = f"{100 * gain:+.1f} % on the test images ({p_value(p)})"
        verdict = f"No significant effect: {seen}." if p >= 0.05 else f"It {'helps' if gain > 0 else 'hurts'}: {seen}."
        notes.append(Note(f"{idea.reasoning} {verdict}", idea.name, "verdict"))
    return notes
