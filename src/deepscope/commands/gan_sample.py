"""`deepscope gan sample`: images from a trained generator."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.commands.command import Command
from deepscope.commands.gan_figures import cells, generated_by, pixel_array
from deepscope.gans import Samples, sample
from deepscope.render import presents
from deepscope.results import ImageGrid, Result
from deepscope.session import Session
from deepscope.settings import Count, Positive

_COLUMNS = 10


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


@presents(Samples)
def present(found: Samples) -> Result:
    """The images with their classes."""
    classes = found.gan.classes
    captions = [classes[label] for label in found.labels.tolist()] if classes else None
    return Result(
        title=f"{len(found)} generated images{f' of {found.label}' if found.label else ''}",
        metrics={"images": len(found)},
        blocks=(ImageGrid(cells(found.images, _COLUMNS, captions=captions), "Generated images"),),
        arrays={"images": pixel_array(found.images), "labels": found.labels.numpy()},
        provenance=generated_by(found.gan),
    )
