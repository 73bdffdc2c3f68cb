"""How the result of `deepscope classify` is shown."""

from __future__ import annotations

from deepscope.classification import Classification
from deepscope.classification.job import abstention_metrics
from deepscope.names import counted
from deepscope.presenters.label_evaluation import labels_blocks
from deepscope.presenters.shown import origin, picture, skipped_blocks
from deepscope.render import presents
from deepscope.render.text import DASH
from deepscope.results import Bars, Block, Cell, Column, GridCell, ImageGrid, Note, Result, Table
from deepscope.statistics import top_shares

_LARGE = 4
"""The most images of a figure that has one image per row, next to its bars."""
NONE = "none"
"""In place of a label, where none is above its threshold."""
_MOST = 20
"""Images without an answer that are listed by name; the table has all."""


@presents(Classification)
def present(found: Classification) -> Result:
    """Table, accuracy and a figure of the predictions."""
    count, accuracy = len(found), _accuracy(found)
    of_labels = () if found.evaluation is None else labels_blocks(found.evaluation)
    if found.evaluation is not None:
        accuracy = found.evaluation.metrics
    several = found.model.head.kind == "multilabel"
    return Result(
        title=f"{found.model.name} on {counted(count, 'image')}",
        metrics={"images": count, "skipped": len(found.skipped), **accuracy, **_abstained(found)},
        blocks=(
            _labels(found) if several else _table(found),
            *abstention_notes(found),
            *(of_labels if several else _accuracy_note(accuracy)),
            *skipped_blocks(found.skipped),
            figure(found),
        ),
        arrays={"probabilities": found.probabilities.numpy(), "classes": found.classes.numpy()},
        provenance=origin([found.model], found.paths, found.digests),
    )


def abstention_notes(found: Classification) -> tuple[Note, ...]:
    """How many images are not answered, and which; nothing where all are."""
    if not found.abstain_below:
        return ()
    names = [name for name, silent in zip(_names(found), found.abstained.tolist()) if silent]
    listed = f": {', '.join(names[:_MOST])}{', ...' if len(names) > _MOST else ''}" if names else ""
    text = f"No answer for {len(names)} of {len(found)} images, whose confidence is below {found.abstain_below:.4g}"
    return (Note(f"{text}{listed}.", "Abstains"),)


def _abstained(found: Classification) -> dict[str, float]:
    if not found.abstain_below:
        return {}
    answered = [row for row, silent in enumerate(found.abstained.tolist()) if not silent and found.answers[row]]
    right = sum(int(found.classes[row, 0]) in found.answers[row] for row in answered)
    return abstention_metrics(int(found.abstained.sum()), len(found), right, len(answered))


def figure(found: Classification) -> ImageGrid:
    """The first images, each beside the bars of its most probable classes."""
    model, shown = found.model, found.paths[: len(found.pixels)]
    cells: list[tuple[GridCell, GridCell]] = []
    for index, (path, pixels) in enumerate(zip(shown, found.pixels)):
        classes = found.classes[index, :5].tolist()
        bars = Bars(
            labels=tuple(model.categories[label] for label in classes),
            values=tuple(found.probabilities[index, :5].tolist()),
            mark=next((place for place, label in enumerate(classes) if label in found.answers[index]), None),
        )
        cells.append((picture(model.displayed(pixels), caption=path.name), bars))
    left_out = f"; the first {len(shown)} of {len(found)} images" if len(shown) < len(found) else ""
    across = 1 if len(cells) <= _LARGE else 2
    return ImageGrid(
        rows=tuple(
            tuple(cell for pair in cells[i : i + across] for cell in pair) for i in range(0, len(cells), across)
        ),
        title="Network input and most probable classes",
        caption=f"{model.name}; images as resized and cropped to {model.preprocessing.size[1]} x "
        f"{model.preprocessing.size[0]} pixels; the bar of the true class, where known, is highlighted{left_out}.",
    )


def _table(found: Classification) -> Table:
    known = any(found.answers)
    rows: list[tuple[Cell, ...]] = []
    for name, right, answer, probabilities, ranked in zip(
        _names(found), found.answers, found.labels, found.probabilities.tolist(), found.classes.tolist()
    ):
        for rank, (probability, index) in enumerate(zip(probabilities, ranked), start=1):
            verdict = ("✓" if index in right else "",) if known else ()
            rows.append((name, rank, found.model.categories[index], probability, *verdict))
            if found.abstain_below:
                rows[-1] = (*rows[-1], answer if rank == 1 else "")
    columns = (Column("image"), Column("rank", "d"), Column("class"), Column("probability", ".3f"))
    columns = (*columns, *((Column("right"),) if known else ()))
    if not found.abstain_below:
        return Table(columns, tuple(rows))
    return Table((*columns, Column("answer")), tuple(rows), caption=f"An answer of {DASH}: the model abstains.")


def _labels(found: Classification) -> Table:
    """All labels above their thresholds; the most probable one of an image without any, with an empty last column."""
    known, head = any(found.answers), found.model.head
    rows: list[tuple[Cell, ...]] = []
    for name, answer, probabilities, ranked, said in zip(
        _names(found),
        found.answers,
        found.probabilities.tolist(),
        found.classes.tolist(),
        found.predictions.tolist(),
    ):
        for place, (probability, label, above) in enumerate(zip(probabilities, ranked, said)):
            if above or (place == 0 and not any(said)):
                right = ("✓" if label in answer else "",) if known else ()
                threshold = head.threshold(label)
                rows.append((name, found.model.categories[label] if above else NONE, probability, threshold, *right))
    columns = (Column("image"), Column("label"), Column("probability", ".3f"), Column("threshold", ".3g"))
    caption = f"Every label above its threshold. {NONE.capitalize()}: the largest probability is below its threshold."
    return Table((*columns, *((Column("right"),) if known else ())), tuple(rows), caption=caption)


def _names(found: Classification) -> list[str]:
    """What tells the images apart."""
    names = [path.name for path in found.paths]
    return names if len(set(names)) == len(names) else [str(path) for path in found.paths]


def _accuracy(found: Classification) -> dict[str, float]:
    if found.model.head.kind == "multilabel":
        return {}
    ranks = [rank for rank, answer in zip(found.ranks.tolist(), found.answers) if answer]
    return {"known": len(ranks), **top_shares(ranks, len(found.model.categories), "accuracy")} if ranks else {}


def _accuracy_note(metrics: dict[str, float]) -> list[Block]:
    if not metrics:
        return []
    said = " and ".join(
        f"top-{k} {metrics[f'accuracy/top{k}']:.3f} "
        f"[{metrics[f'accuracy/top{k}/low']:.3f}, {metrics[f'accuracy/top{k}/high']:.3f}]"
        for k in (1, 5)
        if f"accuracy/top{k}" in metrics
    )
    return [
        Note(f"{said} on the {metrics['known']:.0f} images whose truth is known (95 % Wilson interval).", "Accuracy")
    ]
