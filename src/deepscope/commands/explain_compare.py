"""`deepscope explain compare`: several methods on the same images, in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from deepscope.attributions import Attribution, per_pixel
from deepscope.attributions.faithfulness import rank_correlation
from deepscope.commands.command import Command
from deepscope.commands.explained import explain, heat, image_cell, read_photos
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import Column, GridCell, Heatmap, ImageGrid, Result, Table
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
        methods: names of methods, each with its default settings; by default those that take less than a hundred
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
        methods = named_methods(self.methods)
        model = load_model(self.model, session)
        photos = read_photos(model, self.paths or bundled_photographs().paths, session, batch_size=self.batch_size)
        label = None if self.target is None else model.category(self.target)
        target = photos.predicted if label is None else torch.full_like(photos.predicted, label)
        maps, refused = self._maps(methods, model, photos.pixels, target, session)
        names, many = tuple(maps), len(methods) >= ACROSS
        grid: list[tuple[GridCell, ...]] = []
        for index in range(min(self.figures, len(photos.paths))):
            named = (_cell(one, maps.get(one.name), photos.pixels, index, named=many) for one in methods)
            cells = (image_cell(model, photos, index), *named)
            grid += [cells[first : first + ACROSS] for first in range(0, len(cells), ACROSS)]
        flat = [per_pixel(found) for found in maps.values()]
        agreement = np.array([[_agreement(a, b) for b in flat] for a in flat])
        return Result(
            title=f"{len(maps)} attribution methods on {model.name}",
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
                    columns=() if many else ("image", *(method.name for method in methods)),
                    caption="Brighter: the class score rests more on this place. Each map has its own scale, up to its "
                    "99th percentile." + (" Grey: the method does not apply to this network." if refused else ""),
                ),
                *_refused_table(model, refused),
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

    def _maps(
        self, methods: Sequence[Attribution], model: VisionModel, pixels: Tensor, target: Tensor, session: Session
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The maps of each method that applies to the network, and why the others do not.

        Raises:
            DeepscopeError: none applies.
        """
        maps: dict[str, Tensor] = {}
        refused: dict[str, str] = {}
        for method in methods:
            try:
                maps[method.name] = explain(method, model, pixels, target, session, batch_size=self.batch_size)
            except DeepscopeError as error:
                refused[method.name] = str(error)
                session.note(f"{method.name} is left out: {error}")
        if not maps:
            raise DeepscopeError(f"no method applies to {model.name}; {' '.join(dict.fromkeys(refused.values()))}")
        return maps, refused


def _cell(method: Attribution, maps: Tensor | None, pixels: Tensor, index: int, *, named: bool) -> GridCell:
    """A method's map of one image; an empty one where the method does not apply."""
    if maps is not None:
        return heat(method, maps[index], caption=method.name if named else "")
    nothing = np.full(tuple(pixels.shape[2:]), np.nan)
    return Heatmap(nothing, caption=f"{method.name}: not applicable" if named else "not applicable")


def _agreement(first: Tensor, second: Tensor) -> float:
    """The mean over the images whose maps have an order; NaN where none has, all maps being constant."""
    found = np.asarray(rank_correlation(first, second))
    return float(found[~np.isnan(found)].mean()) if (~np.isnan(found)).any() else float("nan")


def _refused_table(model: VisionModel, refused: Mapping[str, str]) -> tuple[Table, ...]:
    if not refused:
        return ()
    columns = (Column("method"), Column("reason"))
    return (Table(columns, tuple(refused.items()), title=f"Methods that do not apply to {model.name}"),)


def named_methods(names: tuple[str, ...]) -> list[Attribution]:
    """Methods by name (also several in one text, with commas), with their default settings; "all" is all of them.

    Where none is named, those that are not costly.

    Raises:
        DeepscopeError: no method has that name.
    """
    wanted = [part for text in names for part in text.replace(",", " ").split()]
    if not wanted:
        wanted = [name for name, method in Attribution.members().items() if not method.costly]
    elif "all" in wanted:
        wanted = list(Attribution.members())
    return list(dict.fromkeys(Attribution.named(name) for name in wanted))
