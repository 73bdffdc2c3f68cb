"""`deepscope gan evaluator`: train the classifiers that generated images are evaluated with."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.commands.command import Command, Keeping
from deepscope.errors import SettingError
from deepscope.gans import TrainedEvaluator, train_evaluator
from deepscope.gans.quality import save_evaluator
from deepscope.render import presents
from deepscope.results import Block, Column, Note, Provenance, Result, Table
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
    makes: ClassVar[tuple[str, ...]] = ("judge.json",)

    data: str
    _: KW_ONLY
    side: Side = 32
    epochs: Count = 6

    def run(self, session: Session) -> Result:
        """Train, save and measure both."""
        if session.out is None:
            raise SettingError("out", "must name a folder, for the evaluator")
        found = train_evaluator(self.data, side=self.side, epochs=self.epochs, folder=session.out, session=session)
        keeping = Keeping("the evaluator")
        with keeping:
            save_evaluator(session.out, found.evaluator, {name: one.value for name, one in found.accuracy.items()})
        return keeping.done(present(found))


@presents(TrainedEvaluator)
def present(found: TrainedEvaluator) -> Result:
    """The accuracy of both networks."""
    rows = tuple((name, one.value, one.low, one.high) for name, one in found.accuracy.items())
    columns = (Column("network"), *(Column(name, ".4f") for name in ("accuracy", "low", "high")))
    blocks: list[Block] = [Table(columns, rows, "Accuracy on held-out images", "95 % Wilson intervals.")]
    if found.folder:
        blocks.append(
            Note(
                f"`deepscope gan evaluate GENERATOR --evaluator {found.folder}` uses it, and so does `gan train`.",
                "Next",
            )
        )
    return Result(
        title=f"An evaluator of {found.data}",
        metrics={
            key: value for name, one in found.accuracy.items() for key, value in one.metrics(f"accuracy/{name}").items()
        },
        blocks=tuple(blocks),
        provenance=Provenance(data=f"{found.images} training and {found.held_out} held-out images of {found.data}"),
    )
