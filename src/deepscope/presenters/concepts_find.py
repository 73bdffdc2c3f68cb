"""How the concepts of a class are shown."""

from __future__ import annotations

import numpy as np

from deepscope.concepts import Concepts
from deepscope.names import counted
from deepscope.presenters.shown import origin, picture, skipped_blocks
from deepscope.render import presents
from deepscope.results import Bars, Column, Curves, Heatmap, ImageGrid, Note, Result, Series, Table

_ACROSS, _OVER = 6, 4
"""Patches per concept, and images that its map is drawn over."""


@presents(Concepts)
def present(found: Concepts) -> Result:
    """Whether deletion confirms the order, patches and maps of each concept, importance, and the deletion curve."""
    return Result(
        title=f"Concepts of {found.target} in {found.layer} of {found.model.name}",
        metrics={
            "images": len(found.paths),
            "concepts": len(found),
            "explained": found.explained,
            **found.gain.metrics("deletion/gain"),
            **{f"importance/{rank}": one.importance for rank, one in enumerate(found.concepts, 1)},
            **{f"effect/{rank}": one.effect.value for rank, one in enumerate(found.concepts, 1)},
        },
        blocks=(
            _verdict(found),
            *_shifted(found),
            _patches(found),
            _maps(found),
            _table(found),
            _curves(found),
            *skipped_blocks(found.skipped),
        ),
        arrays={"bank": found.bank, "maps": found.maps},
        provenance=origin([found.model], found.paths, found.digests),
    )


def _verdict(found: Concepts) -> Note:
    gain = found.gain
    if gain.low > 0:
        said = "Deletion confirms the order"
    elif gain.high < 0:
        said = "Deletion contradicts the order"
    else:
        said = "Deletion does not confirm the order"
    text = (
        f"{said}: on {len(found.checked)} other images, removing concepts in order of importance leaves a class score "
        f"{gain} lower than removing them in random order, on average. The concepts explain "
        f"{100 * found.explained:.0f} % of the activations."
    )
    return Note(text, "Concepts", "verdict")


def _shifted(found: Concepts) -> tuple[Note, ...]:
    if not found.shifted:
        return ()
    text = (
        f"{found.layer} has negative activations: each channel was shifted by its lowest value before the "
        "factorisation. Concepts are clearer at a layer after a ReLU."
    )
    return (Note(text, "Negative activations"),)


def _patches(found: Concepts) -> ImageGrid:
    most = max((one.importance for one in found.concepts), default=0.0) or 1.0
    rows = tuple(
        (
            Bars(("importance",), (one.importance,), caption=f"concept {rank}", limit=most),
            *(picture(found.model.displayed(each.of(found.pictures[each.image]))) for each in one.patches[:_ACROSS]),
        )
        for rank, one in enumerate(found.concepts, 1)
    )
    return ImageGrid(rows, "Concepts", "The patches that show each concept most. The most important concept first.")


def _maps(found: Concepts) -> ImageGrid:
    rows = []
    for rank, one in enumerate(found.concepts):
        cells = []
        for row in (each.image for each in one.patches[:_OVER]):
            shown = picture(found.model.displayed(found.pictures[row])).pixels
            caption = f"concept {rank + 1}: {found.paths[row].name}"
            high = float(found.maps[:, rank].max()) or 1.0
            cells.append(Heatmap(found.maps[row, rank], caption=caption, over=shown, low=0.0, high=high))
        rows.append(tuple(cells))
    return ImageGrid(tuple(rows), "Where concepts are", "How much of the concept each position shows.")


def _table(found: Concepts) -> Table:
    columns = (
        *(Column("concept", "d"), Column("importance", ".3f"), Column("effect", "+.3f")),
        *(Column("low", "+.3f"), Column("high", "+.3f")),
    )
    rows = tuple(
        (rank, one.importance, one.effect.value, one.effect.low, one.effect.high)
        for rank, one in enumerate(found.concepts, 1)
    )
    caption = (
        f"Of {counted(len(found.fitted), 'image')}. Importance: total Sobol index. Effect: how far the score of "
        f"{found.target} falls where the concept alone is removed, with its 95 % interval. Concepts that lower the "
        "score come last."
    )
    return Table(columns, rows, "Importance", caption)


def _curves(found: Concepts) -> Curves:
    removed = np.arange(len(found.deletion))
    lines = (
        Series("in order of importance", removed, found.deletion),
        Series("in random order", removed, found.random),
    )
    return Curves(
        lines,
        "concepts removed",
        f"score of {found.target}",
        "Deletion",
        "Score of the class as its concepts are removed, mean over images.",
    )
