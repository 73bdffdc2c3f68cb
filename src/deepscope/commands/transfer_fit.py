"""`deepscope transfer fit`: train a classifier on a folder of images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

import numpy as np

from deepscope.commands.command import Command, Keeping
from deepscope.commands.shown import origin, skipped_blocks
from deepscope.commands.transfer_figures import copies_note, evaluation_blocks, map_of_features, shots_curve
from deepscope.errors import SettingError
from deepscope.models import DEFAULT
from deepscope.models.classifier import NormalisationKind
from deepscope.render import presents
from deepscope.results import Curves, Note, Result, Series
from deepscope.session import Session
from deepscope.settings import Positive, ProperShare, Range, Side
from deepscope.statistics import proportion
from deepscope.training import History
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.fit import FittedClassifier, fit
from deepscope.transfer.recipe import Recipe
from deepscope.transfer.splits import Holdout


@dataclass(frozen=True)
class TransferFit(Command):
    """Train a classifier on a folder of images and save it as a model.

    It is fitted to the training images, with settings chosen by cross-validation, and measured on the test images:
    accuracy, confusion, calibration, accuracy by number of training images, and the most confident mistakes.
    The model is saved to --out: `deepscope classify IMAGES --model FOLDER` uses it.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder per class; or a dataset's name.
        features: MODEL, MODEL@LAYER or MODEL@LAYER:POOLING (mean, max, flatten, pyramid); + joins several.
        normalisation: of the features: raw, l2, power, standard or whiten.
        head: linear-svc, logistic-regression or ridge.
        test_fraction: share of test images where the data has no split.
        size: side of the network's input in pixels; by default the model's.
        flip: average features over each image and its mirror image.
        scales: average features over inputs of these relative sizes.
        fine_tune: epochs of fine-tuning the whole network, with a tenth of the training images held out; 0 trains
            only the head. An epoch over a thousand images takes minutes on a CPU.
        learning_rate: of fine-tuning.
        tsne: draw the features by t-SNE; otherwise by their two principal components.
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


@presents(FittedClassifier)
def present(fitted: FittedClassifier) -> Result:
    """Accuracy, calibration and figures of a fitted classifier."""
    answers, calibration, split = fitted.answers, fitted.calibration, fitted.split
    correct, saved = fitted.correct, [fitted.saved] if fitted.saved else []
    clean = correct[~split.copied]
    accuracy = proportion(int(correct.sum()), len(correct))
    return Result(
        title=f"{fitted.data.name} in {len(answers.classes)} classes, on {fitted.classifier.recipe_}",
        metrics={
            **accuracy.metrics("accuracy"),
            **proportion(int(clean.sum()), len(clean)).metrics("accuracy-without-copies"),
            "validation": fitted.classifier.fitted_.validation,
            "expected-calibration-error": calibration.error,
            "temperature": fitted.classifier.fitted_.temperature,
            "copies-across-splits": int(split.copied.sum()),
            **{f"accuracy/shots/{shot}": float(np.mean(values)) for shot, values in fitted.shots.items()},
        },
        blocks=(
            Note(
                f"{accuracy.value:.1%} of {len(correct)} test images are classified correctly; "
                f"95 % Wilson interval {accuracy.low:.1%} to {accuracy.high:.1%}.",
                "Accuracy",
            ),
            *(Note(f"{m.name} is a model: `deepscope classify IMAGES --model {m.name}`.", "Saved") for m in saved),
            *copies_note([split]),
            *evaluation_blocks(answers, calibration),
            shots_curve(fitted),
            *([] if fitted.history is None else [_losses(fitted.history)]),
            map_of_features(fitted),
            *skipped_blocks(fitted.skipped),
        ),
        arrays={"probabilities": answers.probabilities.numpy(), "labels": answers.labels.numpy()},
        provenance=origin([*fitted.backbones.values(), *saved], fitted.data.paths, fitted.digests),
    )


def _losses(history: History) -> Curves:
    """The loss during fine-tuning."""
    steps, values = history.column("loss")
    return Curves((Series("training loss", steps, values),), "step", "loss", title="Fine-tuning")
