"""`deepscope data corrupt`: corrupted copies of images, to measure a classifier on."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.command import Command
from deepscope.command.output import refuse_data
from deepscope.data.corrupt import corrupt
from deepscope.data.corruptions import Corruption, GaussianNoise
from deepscope.presenters.data_corrupt import present
from deepscope.results import Result
from deepscope.session import Session


@dataclass(frozen=True)
class DataCorrupt(Command):
    """Write corrupted copies of images: the 15 corruptions of ImageNet-C at its five severities.

    Class folders and splits are kept, so that the copies can replace the images in `classify`, `check`, or as the
    target of `adapt fit`. Images are scaled down to a shorter side of 256 pixels, the size for which the severities
    are defined.

    Attributes:
        data: a folder of images, with class folders or not; or a dataset's name.
        corruption: what happens to the images.
        figures: most images that the figure shows.
    """

    area: ClassVar[str] = "data"
    name: ClassVar[str] = "corrupt"
    example: ClassVar[str] = "deepscope data corrupt gaussian-blur my-photos/ --severity 4 --out blurred/"

    data: str
    _: KW_ONLY
    corruption: Corruption = GaussianNoise()
    figures: int = 4

    def run(self, session: Session) -> Result:
        """Corrupt every image that can be read."""
        out = session.require_out("the corrupted copies")
        refuse_data(out, self, session)
        folder = out / "images"
        return present(corrupt(self.data, self.corruption, folder=folder, figures=self.figures, session=session))
