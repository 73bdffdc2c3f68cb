"""How the result of `deepscope attack auto` is shown."""

from __future__ import annotations

from deepscope.attacks import Square, WorstCase
from deepscope.attacks.workflow import FOLDER
from deepscope.names import counted
from deepscope.presenters.attacked import as_picture, difference, instead_of_gradients, origin_of
from deepscope.presenters.shown import skipped_blocks
from deepscope.render import presents
from deepscope.results import Column, GridCell, ImageGrid, Note, Result, Table

_SHOWN = 4
"""Images in the figure."""
_UNITS = {"linf": "in any channel", "l2": "in Euclidean length", "l1": "in the sum of absolute values"}


@presents(WorstCase)
def present(found: WorstCase) -> Result:
    """Accuracy in the worst case, and what each stage of the sequence added."""
    return Result(
        title=f"{found.model.name} in the worst case: {found.norm} within {_radius(found)}",
        metrics={
            "images": len(found),
            "misclassified": len(found.misclassified),
            **found.clean.metrics("accuracy/clean"),
            **found.robust.metrics("accuracy/worst"),
            **{f"misled/{stage.name}": stage.misled for stage in found.stages},
            **{f"queries/{stage.name}": stage.queries for stage in found.stages},
            **{f"gradients/{stage.name}": stage.gradients for stage in found.stages},
            **{f"gradients/vanished/{stage.name}": stage.vanished for stage in found.stages},
        },
        blocks=(
            Note(_said(found), "Worst case", "verdict"),
            *_warning(found),
            *instead_of_gradients(found.model, Square.name),
            _table(found),
            *_figure(found),
            *skipped_blocks(found.skipped),
        ),
        arrays={"adversarial": found.images.numpy(), "original": found.subjects.levels.numpy()},
        provenance=origin_of([found.model], found.subjects),
        files=tuple(f"{FOLDER}/{name}" for name in found.names),
    )


def _radius(found: WorstCase) -> str:
    return f"{found.radius * 255:.3g}/255" if found.norm == "linf" else f"{found.radius:.3g}"


def _said(found: WorstCase) -> str:
    total = len(found) + len(found.misclassified) + found.subjects.at_target
    over = counted(len(found.stages), "attack")
    return (
        f"Changes of at most {_radius(found)} {_UNITS[found.norm]} reduce the accuracy on {counted(total, 'image')} "
        f"from {found.clean} to {found.robust}, in the worst case over {over}."
    )


def _warning(found: WorstCase) -> tuple[Note, ...]:
    """Where a black-box attack beats those that follow gradients, the gradients are not to be trusted."""
    last = found.stages[-1]
    if len(found.stages) > 1 and last.misled:
        text = f"{last.name}, which needs no gradients, misled {last.misled} images that withstood every attack that "
        text += "follows gradients: the gradients may be masked. `deepscope check robustness` looks for the signs."
        return (Note(text, "Gradients may be masked", "warning"),)
    return ()


def _table(found: WorstCase) -> Table:
    columns = (
        Column("stage"),
        Column("images tried", "d"),
        Column("misled", "d"),
        Column("accuracy after", ".3f"),
        Column("queries", ".0f"),
        Column("gradients", ".0f"),
        Column("uninformative", "d"),
    )
    total = len(found) + len(found.misclassified) + found.subjects.at_target
    rows, left = [], len(found) + found.subjects.at_target
    for stage in found.stages:
        left -= stage.misled
        cost = (stage.queries, stage.gradients, stage.vanished) if stage.tried else (None, None, None)
        rows.append((stage.name, stage.tried, stage.misled, left / total, *cost))
    return Table(
        columns,
        tuple(rows),
        title="What each attack added",
        caption="Each stage attacks the images that withstood those before it; an image counts as misled only where "
        "the saved 8-bit image is. Queries and gradients: mean per tried image. Uninformative: images whose gradients "
        "vanish or whose scores never change, for which the attack fails whether or not the network is robust.",
    )


def _figure(found: WorstCase) -> tuple[ImageGrid, ...]:
    rows: list[tuple[GridCell, ...]] = []
    shown, names = found.model.displayed, found.model.categories
    for row, verdict in enumerate(found.verdicts[:_SHOWN]):
        original, saved = shown(found.subjects.levels[row]), shown(found.images[row])
        change, _ = difference(original, saved)
        before = as_picture(original, caption=f"{found.paths[row].name}: {names[verdict.before]}")
        after = as_picture(saved, caption=f"{names[verdict.after]} ({found.by[row] or 'withstood all'})")
        rows.append((before, after, change))
    if not rows:
        return ()
    columns = ("image", "the last example", "change, magnified")
    return (ImageGrid(tuple(rows), "Examples", "The example that misled the network, or the last one.", columns),)
