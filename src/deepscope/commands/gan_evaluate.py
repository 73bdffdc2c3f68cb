"""`deepscope gan evaluate`: quality, diversity and novelty of generated images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch

from deepscope.commands.command import Command
from deepscope.commands.gan_figures import cells, generated_by
from deepscope.gans import GANEvaluation, evaluate_gan
from deepscope.render import presents
from deepscope.results import Column, ImageGrid, Note, Result, Table
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


@presents(GANEvaluation)
def present(found: GANEvaluation) -> Result:
    """All metrics, and the nearest training images."""
    missing = [*(() if found.evaluated else (_NO_EVALUATOR,)), *found.missing]
    return Result(
        title=f"Quality of the images of {found.gan.name}",
        metrics=dict(found.metrics),
        blocks=(_table(found), *(Note(text, "Not measured", "warning") for text in missing), _nearest(found)),
        provenance=generated_by(found.gan),
    )


_NO_EVALUATOR = (
    "Classes, and distances by an evaluator's features: no evaluator knows these images. `deepscope gan evaluator DATA "
    "--out evaluator/` trains one, and `deepscope gan evaluate GENERATOR --evaluator evaluator/` uses it."
)


def _table(found: GANEvaluation) -> Table:
    rows = tuple((name, value, found.of_real_images(name)) for name, value in found.generated.items())
    columns = (Column("measure"), Column("generated", ".4f"), Column("real images", ".4f"))
    caption = "Real images: held-out or training images in place of the samples, as an upper bound."
    return Table(columns, rows, "Quality", caption)


def _nearest(found: GANEvaluation) -> ImageGrid:
    pairs = torch.cat([found.samples, found.nearest])
    captions = [f"{distance:.3f}" for distance in found.distances.tolist()] + [""] * len(found.nearest)
    title = "Samples closest to training images"
    grid = cells(pairs, max(len(found.samples), 1), captions=captions)
    return ImageGrid(grid, title, "Above samples, below training images; RMS.")
