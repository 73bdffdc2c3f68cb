"""`deepscope gan evaluator`: train the classifiers that generated images are evaluated with."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.command import Command, Keeping
from deepscope.gans import train_evaluator
from deepscope.gans.quality import save_evaluator
from deepscope.presenters.gan_evaluator import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Side


@dataclass(frozen=True)
class GanEvaluator(Command):
    """Train the two classifiers of a dataset that evaluate generators.

    The features of one give the Frechet distance, precision and recall; the other one recognises classes. Both learn
    from real training images and are measured on held-out ones.

    Attributes:
        data: mnist, mnist-extract, or a folder with one folder of images per class.
        side: side of the images in pixels, as in the generator.
        epochs: passes over the training images.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "evaluator"
    formerly: ClassVar[str] = "judge"
    example: ClassVar[str] = "deepscope gan evaluator mnist --out evaluator/"
    makes: ClassVar[tuple[str, ...]] = ("evaluator.json", "judge.json")

    data: str
    _: KW_ONLY
    side: Side = 32
    epochs: Count = 6

    def run(self, session: Session) -> Result:
        """Train, save and measure both."""
        out = session.require_out("the evaluator")
        found = train_evaluator(self.data, side=self.side, epochs=self.epochs, folder=out, session=session)
        keeping = Keeping("the evaluator")
        with keeping:
            save_evaluator(out, found.evaluator, {name: one.value for name, one in found.accuracy.items()})
        return keeping.done(present(found))
