"""`deepscope explain METHOD`: which pixels determine a class score."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.attributions import Attribution, Explanations, explain
from deepscope.commands.command import Command
from deepscope.commands.explained import heat, image_cell
from deepscope.commands.shown import origin, skipped_blocks
from deepscope.data.photographs import bundled_photographs
from deepscope.models import DEFAULT, load_model
from deepscope.render import presents
from deepscope.results import Column, GridCell, ImageGrid, Result, Table
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class Explain(Command):
    """Show which pixels determine a prediction, as attribution maps and overlays.

    Without --target and --top, an image whose true class is known gets a map for that class and one for the predicted
    class; any other image gets one for the predicted class. The raw maps are saved as .npz.

    Attributes:
        method: attribution method.
        paths: image files and folders; without any, the photographs that come with the installation.
        target: explain this class, by name or number.
        top: explain this many of the most probable classes, side by side.
        model: the classifier; `deepscope models` lists them.
        limit: most images to use, drawn at random.
        figures: most images that the figure shows.
        batch_size: images per batch; the maps do not depend on it.
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
        return present(
            explain(
                load_model(self.model, session),
                self.paths or bundled_photographs().paths,
                self.method,
                target=self.target,
                top=self.top,
                limit=self.limit,
                keep=max(self.figures, 0),
                batch_size=self.batch_size,
                session=session,
            )
        )


@presents(Explanations)
def present(found: Explanations) -> Result:
    """A figure and a table of the maps."""
    return Result(
        title=f"{found.method.name}: attribution maps of {found.model.name}",
        metrics={"images": len(found), "maps": len(found.maps), "skipped": len(found.skipped)},
        blocks=(_table(found), _figure(found), *skipped_blocks(found.skipped)),
        arrays={"maps": found.maps.numpy(), "image": found.rows.numpy(), "class": found.classes.numpy()},
        provenance=origin([found.model], found.paths, found.digests),
    )


def _figure(found: Explanations) -> ImageGrid:
    """Each image in a row: the maps of its true and its predicted class, or each map and the map over the image."""
    photos, model, method = found.photos, found.model, found.method
    by_truth = found.by_truth and any(photos.answers)
    probabilities = found.probabilities.tolist()
    grid: list[tuple[GridCell, ...]] = []
    for index, pixels in enumerate(photos.pixels):
        own = (found.rows == index).nonzero()[:, 0].tolist()
        if by_truth:  # a right prediction has one map, shown in both columns
            own = [own[0], own[-1]]
        cells: list[GridCell] = [image_cell(photos, index)]
        for place in own:
            said = f"{model.categories[int(found.classes[place])]} ({probabilities[place]:.2f})"
            cells.append(heat(method, found.maps[place], caption=said))
            if not by_truth:
                cells.append(heat(method, found.maps[place], over=pixels))
        if by_truth:
            cells.append(heat(method, found.maps[own[-1]], over=pixels))
        grid.append(tuple(cells))
    maps = int((found.rows == 0).sum())
    return ImageGrid(
        tuple(grid),
        title=f"{method.name}, {model.name}",
        columns=("image", "true class", "predicted class", "overlay, predicted")
        if by_truth
        else ("image", *("map", "map over the image") * maps),
        caption=f"Where {model.name} finds the evidence for a class, by {method.name}. Below each map: the "
        "class and its probability. "
        + ("Red speaks for the class, blue against it. " if method.signed else "Brighter counts more. ")
        + "Each map has its own scale, up to its 99th percentile.",
    )


def _table(found: Explanations) -> Table:
    columns = (Column("image"), Column("class explained"), Column("probability", ".3f"), Column("predicted"))
    own = found.columns()
    names = [path.name for path in found.paths]
    rows = zip([names[row] for row in found.rows.tolist()], own["class"], own["probability"], own["predicted"])
    return Table(columns, tuple(rows), title="Maps")
