"""`deepscope transfer fit`: a folder of images becomes a model that every other command opens."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

from deepscope.command import Command, Keeping
from deepscope.errors import SettingError
from deepscope.models import DEFAULT
from deepscope.models.classifier import NormalisationKind
from deepscope.presenters.transfer_fit import present
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Positive, ProperShare, Range, Side
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.fit import fit
from deepscope.transfer.recipe import Recipe
from deepscope.transfer.splits import Holdout


@dataclass(frozen=True)
class TransferFit(Command):
    """Fit a classifier to a folder of images and save it as a model in the person's own categories.

    It is fitted to the training images, with everything chosen by cross-validation among them, and measured on
    the test images: accuracy, confusion, calibration, how few images would have done, and its worst mistakes.
    The model is the folder given by --out: `deepscope classify IMAGES --model FOLDER` opens it.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder per class; or a dataset's name.
        features: MODEL, MODEL@LAYER or MODEL@LAYER:POOLING (mean, max, flatten, pyramid); + joins several.
        normalisation: of the features: raw, l2, power, standard or whiten.
        head: linear-svc, logistic-regression or ridge.
        test_fraction: share of test images where the data has no split of its own.
        size: side of the network's input; by default its own.
        flip: average features over each image and its mirror image.
        scales: average features over inputs of these relative sizes.
        fine_tune: epochs for which the whole network is trained further, a tenth of the training images held out; 0
            keeps it as it is. An epoch over a thousand images takes minutes on a CPU.
        learning_rate: of fine-tuning.
        tsne: the map of the features is t-SNE's; otherwise their two principal components.
    """

    area: ClassVar[str] = "transfer"
    name: ClassVar[str] = "fit"
    example: ClassVar[str] = "deepscope transfer fit holiday-photos/ --out my-model"
    makes: ClassVar[tuple[str, ...]] = ("model.json",)

    data: str
    _: KW_ONLY
    features: str = DEFAULT
    normalisation: NormalisationKind = "l2"
    head: str = "linear-svc"
    test_fraction: ProperShare = 0.3
    size: Side | None = None
    flip: bool = False
    scales: tuple[Annotated[float, Range(most=16, above=True)], ...] = (1.0,)
    fine_tune: int = 0
    learning_rate: Positive = FineTuning.rate
    tsne: bool = False

    def run(self, session: Session) -> Result:
        """Fit on the training images, save, and measure on the test images."""
        if session.out is None:
            raise SettingError("out", "must name a folder for the model")
        views = {"size": self.size, "flip": self.flip, "scales": self.scales}
        fitted = fit(
            self.data,
            Recipe.parse(self.features, normalisation=self.normalisation, **views),
            head=self.head,
            fine_tuning=FineTuning(self.fine_tune, self.learning_rate) if self.fine_tune else None,
            holdout=Holdout(test_fraction=self.test_fraction),
            tsne=self.tsne,
            folder=session.out,
            session=session,
        )
        keeping = Keeping("the classifier")
        with keeping:
            fitted = fitted.save_model(session.out)
        return keeping.done(present(fitted))
