"""`deepscope gan sample`: images from a trained generator."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Command
from deepscope.gans import sample
from deepscope.presenters.gan_sample import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Positive


@dataclass(frozen=True)
class GanSample(Command):
    """Generate images with a trained generator.

    With --out they are also written as an array, `images` in arrays.npz.

    Attributes:
        folder: the folder that `gan train` wrote.
        label: the class or cluster of all images; by default classes in turn, and clusters as often as among the
            training images.
        count: number of images.
        truncation: factor on z: values below 1 give more typical, less varied images.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "sample"
    example: ClassVar[str] = "deepscope gan sample digits/ --label 7 --out sevens/"

    folder: Path
    _: KW_ONLY
    label: str | None = None
    count: Count = 50
    truncation: Positive = 1.0

    def run(self, session: Session) -> Result:
        """Generate."""
        return present(sample(self.folder, self.count, label=self.label, truncation=self.truncation, session=session))
