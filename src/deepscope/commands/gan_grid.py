"""`deepscope gan grid`: every class from the same z, and how far z determines the style."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.commands.command import Command
from deepscope.commands.gan_figures import cells, generated_by, pixel_array
from deepscope.gans import ClassGrid, class_grid
from deepscope.gans.grid import STYLED
from deepscope.render import presents
from deepscope.results import Block, ImageGrid, Note, Result
from deepscope.session import Session
from deepscope.settings import Count


@dataclass(frozen=True)
class GanGrid(Command):
    """Show every class of a conditional generator, with one z per column.

    For grey digits it also measures whether a column has one style: the intraclass correlation of slant and of
    thickness over the classes, 1 where z alone determines them and 0 where it has no effect.

    Attributes:
        folder: the folder that `gan train --conditional` wrote.
        columns: number of different z.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "grid"
    example: ClassVar[str] = "deepscope gan grid digits/ --out grid/"

    folder: Path
    _: KW_ONLY
    columns: Count = 10

    def run(self, session: Session) -> Result:
        """Generate the grid, and measure styles on a larger one."""
        return present(class_grid(self.folder, columns=self.columns, session=session))


@presents(ClassGrid)
def present(found: ClassGrid) -> Result:
    """The grid, and how far z determines the style."""
    images, columns = found.images.flatten(0, 1), found.images.shape[1]
    captions = [name for name in found.gan.classes for _ in range(columns)]
    return Result(
        title="Every class from the same z",
        metrics=dict(found.styles),
        blocks=(ImageGrid(cells(images, columns, captions=captions), "Grid", "One z per column."), *_styles(found)),
        arrays={"images": pixel_array(images)},
        provenance=generated_by(found.gan),
    )


def _styles(found: ClassGrid) -> tuple[Block, ...]:
    if not found.styles:
        return ()
    slant, thickness = found.styles["style/slant"], found.styles["style/thickness"]
    text = (
        f"Over {STYLED} z, slant agrees within a column by {slant:.2f} and thickness by {thickness:.2f} (intraclass "
        "correlation)."
    )
    return (Note(text, "Style and z"),)
