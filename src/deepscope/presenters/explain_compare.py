"""How the result of `deepscope explain compare` is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deepscope.attributions import Comparison
from deepscope.gallery import Gallery
from deepscope.presenters.explained import heat, image_cell, refused_table
from deepscope.presenters.gallery import Encoder, entries_of, map_over, measured_of
from deepscope.presenters.shown import origin, skipped_blocks
from deepscope.render import explores, presents
from deepscope.results import GridCell, Heatmap, ImageGrid, Result

ACROSS = 5
"""Images per row of the figure: more would be too small to compare."""


@presents(Comparison)
def present(found: Comparison) -> Result:
    """The maps side by side, and a matrix of how far the methods agree."""
    names = tuple(found.maps)
    own = found.columns()
    return Result(
        title=f"{len(names)} attribution methods on {found.model.name}",
        metrics={
            "images": len(found),
            **{
                f"agreement/{method}/{other}": value
                for method, other, value in zip(own["method"], own["other"], own["agreement"])
            },
        },
        blocks=(
            _figure(found),
            *refused_table(found.model, found.refused),
            Heatmap(
                found.agreement,
                title="Agreement",
                caption="Spearman's rank correlation of the absolute maps, mean over the images.",
                signed=True,
                low=-1,
                high=1,
                rows=names,
                columns=names,
            ),
            *skipped_blocks(found.skipped),
        ),
        arrays={**{name: maps.numpy() for name, maps in found.maps.items()}, "class": found.target.numpy()}
        | ({} if found.versus is None else {"versus": found.versus.numpy()}),
        provenance=origin([found.model], found.paths, found.digests),
    )


@explores(Comparison)
def gallery(found: Comparison) -> Gallery:
    """The images whose pixels were kept, each with the map of every method."""
    photos, count = found.photos[range(len(found.photos.pixels))], len(found.photos.pixels)
    entries = [
        replace(
            entry, maps={name: map_over(heat(found.methods[name], own[row]), count) for name, own in found.maps.items()}
        )
        for row, entry in enumerate(entries_of(photos, Encoder(count)))
    ]
    return Gallery(tuple(entries), measured_of(entries), f"Attribution methods on {found.model.name}")


def _figure(found: Comparison) -> ImageGrid:
    """Each image with its maps, in several rows where there are many methods."""
    many = len(found.methods) >= ACROSS
    grid: list[tuple[GridCell, ...]] = []
    for index in range(len(found.photos.pixels)):
        named = (_cell(found, name, index, named=many) for name in found.methods)
        cells = (image_cell(found.photos, index), *named)
        grid += [cells[first : first + ACROSS] for first in range(0, len(cells), ACROSS)]
    return ImageGrid(
        tuple(grid),
        title=f"Methods compared, {found.model.name}",
        columns=() if many else ("image", *found.methods),
        caption="Brighter: more influence on the class score. Each map has its own scale, up to its "
        "99th percentile." + (" Grey: the method does not apply to this network." if found.refused else ""),
    )


def _cell(found: Comparison, name: str, index: int, *, named: bool) -> GridCell:
    """A method's map of one image; an empty one where the method does not apply."""
    if name in found.maps:
        return heat(found.methods[name], found.maps[name][index], caption=name if named else "")
    nothing = np.full(tuple(found.photos.pixels.shape[2:]), np.nan)
    return Heatmap(nothing, caption=f"{name}: not applicable" if named else "not applicable")
