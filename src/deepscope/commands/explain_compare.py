"""`deepscope explain compare`: several methods on the same images, in one figure."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from deepscope.attributions import Comparison, compare
from deepscope.commands.command import Command
from deepscope.commands.explained import heat, image_cell, refused_table
from deepscope.commands.shown import origin, skipped_blocks
from deepscope.data.photographs import bundled_photographs
from deepscope.models import DEFAULT, load_model
from deepscope.render import presents
from deepscope.results import GridCell, Heatmap, ImageGrid, Result
from deepscope.session import Session
from deepscope.settings import Count

ACROSS = 5
"""Pictures in a row of the figure: more would be too small to compare."""


@dataclass(frozen=True)
class ExplainCompare(Command):
    """Compare attribution methods: their maps side by side, and how far they agree.

    A method that does not apply to the network leaves its column empty; a table says why.

    Attributes:
        paths: image files and folders; without any, the photographs that come with the installation.
        methods: names of methods, each with its default settings; by default those that need less than a hundred
            passes per image, `all` for all of them.
        target: explain this class, by name or number; the predicted one by default.
        model: the classifier; `deepscope models` lists them.
        figures: how many images the figure shows, at most.
        batch_size: images read at a time; the maps do not depend on it.
    """

    name: ClassVar[str] = "compare"
    area: ClassVar[str] = "explain"
    example: ClassVar[str] = "deepscope explain compare cat.jpg --methods saliency,grad-cam,deep-lift --out compared/"

    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    methods: tuple[str, ...] = ()
    target: str | None = None
    model: str = DEFAULT
    figures: int = 6
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """Explain every image by every method."""
        return present(
            compare(
                load_model(self.model, session),
                self.paths or bundled_photographs().paths,
                self.methods,
                target=self.target,
                keep=max(self.figures, 0),
                batch_size=self.batch_size,
                session=session,
            )
        )


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
        arrays={**{name: maps.numpy() for name, maps in found.maps.items()}, "class": found.target.numpy()},
        provenance=origin([found.model], found.paths, found.digests),
    )


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
        caption="Brighter: the class score rests more on this place. Each map has its own scale, up to its "
        "99th percentile." + (" Grey: the method does not apply to this network." if found.refused else ""),
    )


def _cell(found: Comparison, name: str, index: int, *, named: bool) -> GridCell:
    """A method's map of one image; an empty one where the method does not apply."""
    if name in found.maps:
        return heat(found.methods[name], found.maps[name][index], caption=name if named else "")
    nothing = np.full(tuple(found.photos.pixels.shape[2:]), np.nan)
    return Heatmap(nothing, caption=f"{name}: not applicable" if named else "not applicable")
