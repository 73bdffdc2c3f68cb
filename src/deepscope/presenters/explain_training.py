"""How the training images behind an answer are shown."""

from __future__ import annotations

from torch import Tensor

from deepscope.presenters.shown import missing, origin, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Column, ImageGrid, Note, Picture, Result, Table
from deepscope.transfer.training_images import TrainingImages

_FIGURES = 12
"""Explained images in the figure, at most."""


@presents(TrainingImages)
def present(found: TrainingImages) -> Result:
    """A figure per explained image, and a table of the training images that count most."""
    arrays = {"scores": found.scores.numpy(), "class": found.classes.numpy(), "distances": found.distances.numpy()}
    metrics = {"images": float(len(found)), "training-images": float(len(found.training))}
    if found.shares is not None and found.effects is not None:
        arrays |= {"shares": found.shares.numpy(), "effects": found.effects.numpy(), "offset": found.offset.numpy()}
        metrics["largest-remainder"] = float((found.shares.sum(1) + found.offset - found.scores).abs().max())
    return Result(
        title=f"Which training images {found.model.name} answers by",
        metrics=metrics,
        blocks=(_said(found), _figure(found), _table(found), *skipped_blocks(found.skipped)),
        arrays=arrays,
        provenance=origin([found.model], (*found.paths, *found.training.paths), found.digests),
    )


def _said(found: TrainingImages) -> Note:
    if found.shares is None:
        text = (
            f"An approximation: {found.why}, so its scores are no known sum over training images. Shown are those "
            "whose features are nearest, which need not be what the answer rests on."
        )
        return Note(text, "Nearest training images", "warning")
    text = (
        "Each score is exactly the sum of the shares of all training images (and of the offset, where there is one). "
        "The effect of an image is what the score would lose if the classifier had been fitted without it; the shares "
        "of similar images replace each other, so the two differ."
    )
    return Note(text, "Shares and effects")


def _figure(found: TrainingImages) -> ImageGrid:
    rows: list[tuple[Picture, ...]] = []
    for row in range(min(len(found), _FIGURES)):
        name = found.model.categories[int(found.classes[row])]
        cells = [_cell(found.pictures[row], f"{found.paths[row].name}: {name} ({float(found.scores[row]):.2f})")]
        cells += [_cell(found.known[at], _caption(found, row, at)) for at in found.helpful(row)]
        cells += [_cell(found.known[at], _caption(found, row, at)) for at in found.harmful(row)]
        rows.append(tuple(cells))
    what = "nearest" if found.shares is None else "most helpful, then most harmful"
    return ImageGrid(
        tuple(rows),
        f"The {what} training images",
        "The explained image with its class and score stands first."
        + ("" if found.shares is None else " Below each training image: class, share of the score, effect."),
    )


def _caption(found: TrainingImages, row: int, at: int) -> str:
    label = found.training.classes[found.training.labels[at]]
    if found.shares is None or found.effects is None:
        return f"{label}, distance {float(found.distances[row, at]):.2f}"
    return f"{label}, {float(found.shares[row, at]):+.3f}, effect {float(found.effects[row, at]):+.3f}"


def _cell(pixels: Tensor | None, caption: str) -> Picture:
    return missing(caption=caption) if pixels is None else picture(pixels, caption=caption)


def _table(found: TrainingImages) -> Table:
    columns = (
        *(Column(name) for name in ("image", "class", "training image", "label")),
        *(Column(name, "+.4f") for name in ("share", "effect")),
        Column("distance", ".3f"),
    )
    return Table(columns, tuple(zip(*found.columns().values())), "Training images that count most")
