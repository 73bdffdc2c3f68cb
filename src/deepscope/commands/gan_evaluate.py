"""`deepscope gan evaluate`: quality, diversity and novelty of generated images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Command
from deepscope.errors import SettingError
from deepscope.gans import evaluate_gan, evaluate_images, holds_generator
from deepscope.images import find
from deepscope.presenters.gan_evaluate import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count

_SIDE = 64


@dataclass(frozen=True)
class GanEvaluate(Command):
    """Measure a trained generator against held-out images of its data; real images give each metric's bound.

    Held-out images are the test images, or those that `gan train --hold-out` set aside. Images that another program
    generated are measured in the same way.

    Attributes:
        folder: the folder that `gan train` wrote, or a folder of generated images.
        data: dataset or folder to compare with; by default the generator's training data. Images alone need it.
        side: to which a folder of images and the data are cropped and resized, in pixels; 64 by default, and digits
            need 32. A generator has its own.
        evaluator: folder of `gan evaluator`; by default the one in the package, where it knows these images.
        samples: images to generate; the Frechet distance uses as many as there are held-out images.
        score_epochs: epochs of the classifier that is trained on generated images (classification accuracy score);
            0 skips it.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "evaluate"
    renamed: ClassVar[Mapping[str, str]] = {"judge": "evaluator"}
    example: ClassVar[str] = "deepscope gan evaluate digits/ --evaluator evaluator/ --out quality/"

    folder: Path
    _: KW_ONLY
    data: str | None = None
    evaluator: Path | None = None
    samples: int = 10_000
    score_epochs: int = 6
    side: Count | None = None

    def run(self, session: Session) -> Result:
        """Generate, measure, and show the nearest training images."""
        if self.folder.is_dir() and not holds_generator(self.folder) and find([self.folder]).paths:
            return self._images(session)
        if self.side is not None:
            raise SettingError("side", "is for a folder of images: a generator has its own", got=self.side)
        return present(
            evaluate_gan(
                self.folder,
                self.data,
                evaluator=self.evaluator,
                samples=self.samples,
                score_epochs=self.score_epochs,
                session=session,
            )
        )

    def _images(self, session: Session) -> Result:
        if self.data is None:
            raise SettingError(
                "data", f"is needed, as {self.folder} holds images and no generator: name what they are like"
            )
        found = evaluate_images(
            self.folder, self.data, side=self.side or _SIDE, evaluator=self.evaluator, session=session
        )
        return present(found)
