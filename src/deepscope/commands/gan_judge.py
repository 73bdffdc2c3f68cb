"""`deepscope gan judge`: train the classifiers that measure generated images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from deepscope.commands.command import Command, Keeping
from deepscope.errors import DeepscopeError
from deepscope.gans import load_pictures
from deepscope.gans.quality import save_judge, train_judge
from deepscope.gans.quality.judge import run
from deepscope.results import Column, Note, Provenance, Result, Table
from deepscope.session import Session
from deepscope.settings import Count, Side
from deepscope.statistics import proportion


@dataclass(frozen=True)
class GanJudge(Command):
    """Train two classifiers of a dataset, from two seeds, to measure generators with.

    The one's features give the Frechet distance, precision and recall; the other one's verdict counts classes. Both are
    trained on real training images and measured on held-out ones.

    Attributes:
        data: mnist, mnist-extract, or a folder with a folder of images for each class.
        side: of the images, in pixels, as the generator's.
        epochs: passes over the training images.
    """

    area: ClassVar[str] = "gan"
    name: ClassVar[str] = "judge"
    example: ClassVar[str] = "deepscope gan judge mnist --out judge/"
    makes: ClassVar[tuple[str, ...]] = ("judge.json",)

    data: str
    _: KW_ONLY
    side: Side = 32
    epochs: Count = 6

    def run(self, session: Session) -> Result:
        """Train, save and measure."""
        if session.out is None:
            raise DeepscopeError("the judge needs a folder: name one with --out")
        if self.epochs < 1 or self.side < 28:
            raise DeepscopeError("--epochs is at least 1, --side at least 28")
        pictures = load_pictures(self.data, self.side, session)
        if not pictures.classes:
            raise DeepscopeError(f"{self.data} has no classes to judge: give a folder of images for each class")
        judge = train_judge(pictures.train, pictures.classes, epochs=self.epochs, session=session, folder=session.out)
        total = len(pictures.test)
        accuracy = {}
        for name, network in (("measure", judge.measure), ("verdict", judge.verdict)):
            right = int((run(network, pictures.test.images).argmax(1) == pictures.test.labels).sum())
            accuracy[name] = proportion(right, total)
        keeping = Keeping("the judge")
        with keeping:
            save_judge(session.out, judge, {name: estimate.value for name, estimate in accuracy.items()})
        rows = tuple((name, found.value, found.low, found.high) for name, found in accuracy.items())
        columns = (Column("network"), *(Column(name, ".4f") for name in ("accuracy", "low", "high")))
        result = Result(
            title=f"A judge of {self.data}",
            metrics={
                key: value
                for name, found in accuracy.items()
                for key, value in found.metrics(f"accuracy/{name}").items()
            },
            blocks=(
                Table(columns, rows, "Accuracy on held-out images", "95 % Wilson intervals."),
                Note(f"Give it to `gan evaluate` and `gan train` with --judge {session.out}.", "Next"),
            ),
            provenance=Provenance(data=f"{len(pictures.train)} training and {total} held-out images of {self.data}"),
        )
        return keeping.done(result)
