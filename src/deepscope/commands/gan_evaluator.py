"""`deepscope gan evaluator`: train the classifiers that generated images are evaluated with."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.command import Command, Keeping
from deepscope.errors import SettingError
from deepscope.gans import train_evaluator
from deepscope.gans.quality import save_evaluator
from deepscope.presenters.gan_evaluator import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, Side


@dataclass(frozen=True)
class GanEvaluator(Command):
    """Train two classifiers of a dataset, from two seeds, to evaluate generators with.

    The features of one give the Frechet distance, precision and recall; the other one recognises classes. Both learn
    from real training images and are measured on held-out ones.

    Attributes:
        data: mnist, mnist-extract, or a folder with a folder of images for each class.
        side: of the images, in pixels, as the generator's.
        epochs: passes over the training images.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "evaluator"
    formerly: ClassVar[str] = "judge"
    example: ClassVar[str] = "deepscope gan evaluator mnist --out evaluator/"
    makes: ClassVar[tuple[str, ...]] = ("judge.json",)

    data: str
    _: KW_ONLY
    side: Side = 32
    epochs: Count = 6

    def run(self, session: Session) -> Result:
        """Train, save and measure."""
        if session.out is None:
            raise SettingError("out", "must name a folder, for the evaluator")
        found = train_evaluator(self.data, side=self.side, epochs=self.epochs, folder=session.out, session=session)
        keeping = Keeping("the evaluator")
        with keeping:
            save_evaluator(session.out, found.evaluator, {name: one.value for name, one in found.accuracy.items()})
        return keeping.done(present(found))
