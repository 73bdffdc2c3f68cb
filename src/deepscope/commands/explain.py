"""`deepscope explain METHOD`: which pixels a class score rests on."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from deepscope.attributions import Attribution
from deepscope.commands.command import Command
from deepscope.commands.explained import Photos, explain, heat, image_cell, read_photos
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.data.photographs import bundled_photographs
from deepscope.errors import DeepscopeError
from deepscope.models import DEFAULT, VisionModel, load_model
from deepscope.results import Column, GridCell, ImageGrid, Result, Table
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class Explain(Command):
    """Show which pixels a network's answer rests on, as maps and overlays.

    Without --target and --top, an image whose true class is known gets a map for that class and one for the predicted
    class; any other image gets one for the predicted class. The raw maps are saved as .npz.

    Attributes:
        method: how.
        paths: image files and folders; without any, the photographs that come with the installation.
        target: explain this class, by name or number.
        top: explain this many of the most probable classes, side by side.
        model: the classifier; `deepscope models` lists them.
        limit: images to use, at most, drawn at random.
        figures: how many images the figure shows, at most.
        batch_size: images read at a time; the maps do not depend on it.
    """

    name: ClassVar[str] = "explain"
    example: ClassVar[str] = "deepscope explain grad-cam cat.jpg --top 3 --out maps/"

    method: Attribution
    paths: tuple[Path, ...] = ()
    _: KW_ONLY
    target: str | None = None
    top: Count | None = None
    model: str = DEFAULT
    limit: Count | None = None
    figures: int = 12
    batch_size: Count = 16

    def run(self, session: Session) -> Result:
        """Explain every image that can be read."""
        if self.target is not None and self.top is not None:
            raise DeepscopeError("give --target or --top, not both")
        model = load_model(self.model, session)
        if self.top is not None and not 1 <= self.top <= len(model.categories):
            raise DeepscopeError(f"--top is between 1 and {len(model.categories)}, the classes of {model.name}")
        paths = self.paths or bundled_photographs().paths
        photos = read_photos(model, paths, session, batch_size=self.batch_size, limit=self.limit)
        classes = self._classes(model, photos)
        rows = torch.tensor([index for index, labels in enumerate(classes) for _ in labels])
        target = torch.tensor([label for labels in classes for label in labels])
        maps = explain(self.method, model, photos.pixels[rows], target, session, batch_size=self.batch_size)
        probabilities = photos.probabilities[rows, target]
        return Result(
            title=f"{self.method.name}: what {model.name} looks at",
            metrics={"images": len(photos.paths), "maps": len(maps), "skipped": len(photos.skipped)},
            blocks=(
                _table(model, photos, rows, target, probabilities),
                self._figure(model, photos, classes, maps),
                *skipped_blocks(photos.skipped),
            ),
            arrays={"maps": maps.numpy(), "image": rows.numpy(), "class": target.numpy()},
            provenance=provenance([model], photos.paths),
        )

    def _classes(self, model: VisionModel, photos: Photos) -> list[list[int]]:
        """The classes to explain, for each image, none twice."""
        if self.target is not None:
            return [[model.category(self.target)]] * len(photos.paths)
        if self.top is not None:
            return photos.probabilities.topk(self.top, dim=1).indices.tolist()
        classes = []
        for index, predicted in enumerate(photos.predicted.tolist()):
            true = photos.true_class(index)
            classes.append([predicted] if true in (None, predicted) else [true, predicted])
        return classes

    def _figure(self, model: VisionModel, photos: Photos, classes: list[list[int]], maps: Tensor) -> ImageGrid:
        known = self.target is None and self.top is None and any(photos.answers)
        grid: list[tuple[GridCell, ...]] = []
        first = 0
        for index, labels in enumerate(classes[: self.figures]):
            own = list(maps[first : first + len(labels)])
            first += len(labels)
            if known:  # a right prediction has one map, shown in both columns
                labels, own = [labels[0], labels[-1]], [own[0], own[-1]]
            cells: list[GridCell] = [image_cell(model, photos, index)]
            for label, attribution in zip(labels, own):
                said = f"{model.categories[label]} ({float(photos.probabilities[index, label]):.2f})"
                cells.append(heat(self.method, attribution, caption=said))
                if not known:
                    cells.append(heat(self.method, attribution, over=photos.pixels[index]))
            if known:
                cells.append(heat(self.method, own[-1], over=photos.pixels[index]))
            grid.append(tuple(cells))
        return ImageGrid(
            tuple(grid),
            title=f"{self.method.name}, {model.name}",
            columns=("image", "true class", "predicted class", "overlay, predicted")
            if known
            else ("image", *("map", "map over the image") * len(classes[0])),
            caption=f"Where {model.name} finds the evidence for a class, by {self.method.name}. Below each map: the "
            "class and its probability. "
            + ("Red speaks for the class, blue against it. " if self.method.signed else "Brighter counts more. ")
            + "Each map has its own scale, up to its 99th percentile.",
        )


def _table(model: VisionModel, photos: Photos, rows: Tensor, target: Tensor, probabilities: Tensor) -> Table:
    cells = tuple(
        (photos.paths[row].name, model.categories[label], probability, label == int(photos.predicted[row]))
        for row, label, probability in zip(rows.tolist(), target.tolist(), probabilities.tolist())
    )
    columns = (Column("image"), Column("class explained"), Column("probability", ".3f"), Column("predicted"))
    return Table(columns, cells, title="Maps")
