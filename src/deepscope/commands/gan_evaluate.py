"""`deepscope gan evaluate`: quality, diversity and novelty of generated images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

from deepscope.command import Command
from deepscope.gans import evaluate_gan
from deepscope.presenters.gan_evaluate import present
from deepscope.results import Result
from deepscope.session import Session


@dataclass(frozen=True)
class GanEvaluate(Command):
    """Measure a trained generator against held-out images of its data; real images give each metric's bound.

    Held-out images are the test images, or those that `gan train --hold-out` set aside.

    Attributes:
        folder: the folder that `gan train` wrote.
        data: dataset to compare with; by default the generator's training data.
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

    def run(self, session: Session) -> Result:
        """Generate, measure, and show the nearest training images."""
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
