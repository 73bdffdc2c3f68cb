"""How the result of `deepscope classify` is shown."""

from __future__ import annotations

from deepscope.classification import Classification
from deepscope.presenters.shown import origin, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Bars, Block, Column, GridCell, ImageGrid, Note, Result, Table
from deepscope.statistics import top_shares


@presents(Classification)
def present(found: Classification) -> Result:
    """Table, accuracy and a figure of the predictions."""
    count, accuracy = len(found), _accuracy(found)
    return Result(
        title=f"{found.model.name} on {count} image{'s' if count != 1 else ''}",
        metrics={"images": count, "skipped": len(found.skipped), **accuracy},
        blocks=(_table(found), *_accuracy_note(accuracy), *skipped_blocks(found.skipped), figure(found)),
        arrays={"probabilities": found.probabilities.numpy(), "classes": found.classes.numpy()},
        provenance=origin([found.model], found.paths, found.digests),
    )


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
        cells.append((picture(pixels, caption=path.name), bars))
    left_out = f"; the first {len(shown)} of {len(found)} images" if len(shown) < len(found) else ""
    return ImageGrid(
        rows=tuple(tuple(cell for pair in cells[i : i + 2] for cell in pair) for i in range(0, len(cells), 2)),
        title="Network input and most probable classes",
        caption=f"{model.name}; images as resized and cropped to {model.preprocessing.size[1]} x "
        f"{model.preprocessing.size[0]} pixels; the bar of the true class, where known, is highlighted{left_out}.",
    )


def _table(found: Classification) -> Table:
    known = any(found.answers)
    names = [path.name for path in found.paths]
    labels = names if len(set(names)) == len(names) else [str(path) for path in found.paths]
    rows = []
    for label, answer, probabilities, ranked in zip(
        labels, found.answers, found.probabilities.tolist(), found.classes.tolist()
    ):
        for rank, (probability, index) in enumerate(zip(probabilities, ranked), start=1):
            verdict = ("✓" if index in answer else "",) if known else ()
            rows.append((label, rank, found.model.categories[index], probability, *verdict))
    columns = (Column("image"), Column("rank", "d"), Column("class"), Column("probability", ".3f"))
    return Table(columns=(*columns, *((Column("right"),) if known else ())), rows=tuple(rows))


def _accuracy(found: Classification) -> dict[str, float]:
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
