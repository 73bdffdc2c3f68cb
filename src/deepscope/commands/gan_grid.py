"""`deepscope gan grid`: every class from the same z, and how far z determines the style."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Command
from deepscope.gans import class_grid
from deepscope.presenters.gan_grid import present
from deepscope.results import Result
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
