"""`deepscope transfer fit`: train a classifier on a folder of images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar

from deepscope.command import Command, Keeping
from deepscope.errors import SettingError
from deepscope.models import DEFAULT
from deepscope.models.classifier import NormalisationKind
from deepscope.presenters.transfer_fit import present
from deepscope.presenters.transfer_fit_parts import present as present_parts
from deepscope.presenters.transfer_fit_robust import present as present_robust
from deepscope.results import Result
from deepscope.session import Session
from deepscope.settings import Count, LinfRadius, Positive, ProperShare, Range, Side
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.fit import fit
from deepscope.transfer.fit_parts import fit_parts
from deepscope.transfer.parts import parts_in
from deepscope.transfer.recipe import Recipe
from deepscope.transfer.robust import RobustTraining, fit_robust
from deepscope.transfer.splits import Holdout


@dataclass(frozen=True)
class TransferFit(Command):
    """Train a classifier on a folder of images and save it as a model.

    It is fitted to the training images, with settings chosen by cross-validation, and measured on the test images:
    accuracy, confusion, calibration, accuracy by number of training images, and the most confident mistakes.
    The model is saved to --out: `deepscope classify IMAGES --model FOLDER` uses it.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder per class; a dataset's name; or the --out folder of
            `transfer features`, for ridge or linear-svc on more images than memory holds.
        features: MODEL, MODEL@LAYER or MODEL@LAYER:POOLING (mean, max, flatten, pyramid); + joins several.
        normalisation: normalisation of the features.
        head: linear-svc, logistic-regression or ridge.
        test_fraction: share of test images where the data has no split.
        size: side of the network's input in pixels; by default the model's.
        flip: average features over each image and its mirror image.
        scales: average features over inputs of these relative sizes.
        fine_tune: epochs of fine-tuning the whole network, with a tenth of the training images held out; 0 trains
            only the head. An epoch over a thousand images takes minutes on a CPU.
        learning_rate: learning rate of fine-tuning.
        tsne: draw the features by t-SNE; otherwise by their two principal components.
        robust: Linf radius, pixels in [0, 1]: train a digit network against changes of that size instead. For "mnist"
            and "mnist-extract"; settings of features and heads do not apply.
        robust_epochs: epochs of that training, at most; it ends early where the network only learns to resist the
            attack of the training.
        robust_steps: gradient steps of that attack; one is fast adversarial training.
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
    robust: LinfRadius | None = None
    robust_epochs: Count = RobustTraining.epochs
    robust_steps: Count = RobustTraining.steps

    def run(self, session: Session) -> Result:
        """Fit on the training images, save, and measure on the test images."""
        out = session.require_out("the model")
        if self.robust is not None:
            return self._robust(self.robust, out, session)
        if parts_in(self.data):
            return self._to_parts(out, session)
        views = {"size": self.size, "flip": self.flip, "scales": self.scales}
        fitted = fit(
            self.data,
            Recipe.parse(self.features, normalisation=self.normalisation, **views),
            head=self.head,
            fine_tuning=FineTuning(self.fine_tune, self.learning_rate) if self.fine_tune else None,
            holdout=Holdout(test_fraction=self.test_fraction),
            tsne=self.tsne,
            folder=out,
            session=session,
        )
        keeping = Keeping("the classifier")
        with keeping:
            fitted = fitted.save_model(out)
        return keeping.done(present(fitted))

    def _robust(self, radius: float, out: Path, session: Session) -> Result:
        """Adversarial training, which takes none of the settings of features and heads."""
        for field in fields(self):
            if not field.name.startswith(("data", "robust")) and getattr(self, field.name) != field.default:
                raise SettingError("robust", f"trains a digit network: it cannot be combined with {{{field.name}}}")
        size = 1.25 if self.robust_steps == 1 else RobustTraining.step_size
        settings = RobustTraining(radius, self.robust_epochs, self.robust_steps, size)
        found = fit_robust(self.data, settings, folder=out / "training", session=session)
        keeping = Keeping("the classifier")
        with keeping:
            found = found.save_model(out)
        return keeping.done(present_robust(found))

    def _to_parts(self, out: Path, session: Session) -> Result:
        """The same, of features that `transfer features` wrote."""
        own = {"features", "size", "flip", "scales", "fine_tune", "learning_rate", "tsne"}
        for field in fields(self):
            if field.name in own and getattr(self, field.name) != field.default:
                raise SettingError(field.name, f"cannot be used: {self.data} holds features that are computed already")
        fitted = fit_parts(
            self.data,
            head=self.head,
            normalisation=self.normalisation,
            test_fraction=self.test_fraction,
            session=session,
        )
        keeping = Keeping("the classifier")
        with keeping:
            fitted = fitted.save_model(out)
        return keeping.done(present_parts(fitted))
