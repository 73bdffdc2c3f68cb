"""`deepscope gan interpolate`: interpolate between generated images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from deepscope.command import Command
from deepscope.gans import interpolate
from deepscope.presenters.gan_interpolate import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Range


@dataclass(frozen=True)
class GanInterpolate(Command):
    """Interpolate between random z along great circles, and show the images.

    Attributes:
        folder: the folder that `gan train` wrote.
        label: the class of all images, of a conditional generator; its first by default.
        ways: number of pairs of z.
        steps: images per pair, including both ends.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "interpolate"
    example: ClassVar[str] = "deepscope gan interpolate digits/ --label 3 --out way/"

    folder: Path
    _: KW_ONLY
    label: str | None = None
    ways: Count = 4
    steps: Annotated[int, Range(2)] = 30

    def run(self, session: Session) -> Result:
        """Generate along each path."""
        return present(interpolate(self.folder, label=self.label, ways=self.ways, steps=self.steps, session=session))
