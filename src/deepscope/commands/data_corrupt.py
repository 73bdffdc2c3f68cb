"""`deepscope data corrupt`: damaged copies of images, to measure a classifier on."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.command import Command
from deepscope.command.output import refuse_data
from deepscope.data.corrupt import corrupt
from deepscope.data.corruptions import Corruption, GaussianNoise
from deepscope.errors import SettingError
from deepscope.presenters.data_corrupt import present
from deepscope.results import Result
from deepscope.session import Session


@dataclass(frozen=True)
class DataCorrupt(Command):
    """Write damaged copies of images: noise, blur, lost contrast, and so on, at the strengths of ImageNet-C.

    Class folders and train and test folders are kept, so that the copies can be given wherever the images can: to
    `classify`, to `check`, or as the target of `adapt fit`. Shorter sides above 256 pixels shrink to that, the size
    the strengths are made for.

    Attributes:
        data: a folder of images, with class folders or not; or a dataset's name.
        corruption: what happens to the images.
        figures: how many images the figure shows, at most.
    """

    area: ClassVar[str] = "data"
    name: ClassVar[str] = "corrupt"
    example: ClassVar[str] = "deepscope data corrupt gaussian-blur my-photos/ --severity 4 --out blurred/"

    data: str
    _: KW_ONLY
    corruption: Corruption = GaussianNoise()
    figures: int = 4

    def run(self, session: Session) -> Result:
        """Damage every image that can be read."""
        if session.out is None:
            raise SettingError("out", "must name a folder for the damaged copies")
        refuse_data(session.out, self, session)
        folder = session.out / "images"
        return present(corrupt(self.data, self.corruption, folder=folder, figures=self.figures, session=session))
