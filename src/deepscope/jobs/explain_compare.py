"""`deepscope explain compare`: several methods on the same images, in one figure."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from deepscope.attributions import Attribution, per_pixel
from deepscope.attributions.faithfulness import rank_correlation
from deepscope.data.photographs import bundled_photographs
from deepscope.jobs.explained import explain, heat, image_cell, read_photos
from deepscope.jobs.job import Job
from deepscope.jobs.shown import provenance, skipped_blocks
from deepscope.models import DEFAULT, load_model
from deepscope.results import GridCell, Heatmap, ImageGrid, Result
from deepscope.session import Session
from deepscope.settings import Count

ACROSS = 5
"""Pictures in a row of the figure: more would be too small to compare."""


@dataclass(frozen=True)
class ExplainCompare(Job):
    """Compare attribution methods: their maps side by side, and how far they agree.

    Attributes:
        paths: image files and folders; without any, the photographs that come with the installation.
        methods: names of methods, each with its default settings; by default those that take less than a hundred
            passes an image, `all` for all of them.
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
        methods = named_methods(self.methods)
        model = load_model(self.model, session)
        photos = read_photos(model, self.paths or bundled_photographs().paths, session, batch_size=self.batch_size)
        label = None if self.target is None else model.category(self.target)
        target = photos.predicted if label is None else torch.full_like(photos.predicted, label)
        maps = {
            method.name: explain(method, model, photos.pixels, target, session, batch_size=self.batch_size)
            for method in methods
        }
        names, many = tuple(maps), len(maps) >= ACROSS
        grid: list[tuple[GridCell, ...]] = []
        for index in range(min(self.figures, len(photos.paths))):
            named = (heat(one, maps[one.name][index], caption=one.name if many else "") for one in methods)
            cells = (image_cell(model, photos, index), *named)
            grid += [cells[first : first + ACROSS] for first in range(0, len(cells), ACROSS)]
        flat = [per_pixel(found) for found in maps.values()]
        agreement = np.array([[np.nanmean(rank_correlation(a, b)) for b in flat] for a in flat])
        return Result(
            title=f"{len(methods)} attribution methods on {model.name}",
            metrics={
                "images": len(photos.paths),
                **{
                    f"agreement/{a}/{b}": agreement[i, j]
                    for i, a in enumerate(names)
                    for j, b in enumerate(names)
                    if i < j
                },
            },
            blocks=(
                ImageGrid(
                    tuple(grid),
                    title=f"Methods compared, {model.name}",
                    columns=() if many else ("image", *names),
                    caption="Each map has its own scale, up to its 99th percentile.",
                ),
                Heatmap(
                    agreement,
                    title="Agreement",
                    caption="Spearman's rank correlation of the absolute maps, mean over the images.",
                    signed=True,
                    low=-1,
                    high=1,
                    rows=names,
                    columns=names,
                ),
                *skipped_blocks(photos.skipped),
            ),
            arrays={**{name: found.numpy() for name, found in maps.items()}, "class": target.numpy()},
            provenance=provenance([model], photos.paths),
        )


def named_methods(names: tuple[str, ...]) -> list[Attribution]:
    """Methods by name (also several in one text, with commas), with their default settings; "all" is all of them.

    Where none is named, those that are not costly.

    Raises:
        InputError: no method has that name.
    """
    wanted = [part for text in names for part in text.replace(",", " ").split()]
    if not wanted:
        wanted = [name for name, method in Attribution.members().items() if not method.costly]
    elif "all" in wanted:
        wanted = list(Attribution.members())
    return list(dict.fromkeys(Attribution.named(name) for name in wanted))
