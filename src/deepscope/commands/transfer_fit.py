"""`deepscope transfer fit`: a folder of images becomes a model that every other command opens."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

import torch

from deepscope.commands.command import Command, Keeping
from deepscope.commands.shown import provenance, skipped_blocks
from deepscope.commands.transfer_figures import Answers, evaluation_blocks, few_shot_curve, map_of_features
from deepscope.commands.transfer_table import copies_note
from deepscope.data import ClassFolders, load_dataset
from deepscope.errors import DeepscopeError, SettingError
from deepscope.models import DEFAULT
from deepscope.models.classifier import NormalisationKind
from deepscope.results import Curves, Note, Result, Series
from deepscope.session import Session
from deepscope.settings import Positive, ProperShare, Range, Side
from deepscope.statistics import proportion
from deepscope.training import History, remove_training
from deepscope.transfer.evaluation import reliability
from deepscope.transfer.features import gather
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.heads import Head
from deepscope.transfer.splits import divide


@dataclass(frozen=True)
class TransferFit(Command):
    """Fit a classifier to a folder of images and save it as a model in the person's own categories.

    It is fitted to the training images, with everything chosen by cross-validation among them, and measured on
    the test images: accuracy, confusion, calibration, how few images would have done, and its worst mistakes.
    The model is the folder given by --out: `deepscope classify IMAGES --model FOLDER` opens it.

    Attributes:
        data: a folder with `train/` and `test/`, or with a folder for each class; or a dataset's name.
        features: MODEL, MODEL@LAYER or MODEL@LAYER:POOLING (mean, max, flatten, pyramid); + joins several.
        normalisation: of the features: raw, l2, power, standard or whiten.
        head: linear-svc, logistic-regression or ridge.
        test_fraction: share of test images where the data has no split of its own.
        size: side of the network's input; by default its own.
        flip: average features over each image and its mirror image.
        scales: average features over inputs of these relative sizes.
        fine_tune: epochs for which the whole network is trained further, a tenth of the training images held out; 0
            keeps it as it is. Minutes an epoch on a CPU for a thousand images.
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
        from deepscope.transfer.classifier import ImageClassifier

        if session.out is None:
            raise DeepscopeError("name a folder for the model with --out")
        head = Head.named(self.head)
        if not head.linear:
            linear = " or ".join(name for name, member in Head.members().items() if member.linear)
            raise SettingError("head", f"{self.head} cannot be saved as the last layer of a network: use {linear}")
        data = load_dataset(self.data, session, ClassFolders)
        everything = data.everything
        classifier = ImageClassifier(
            self.features,
            normalisation=self.normalisation,
            head=self.head,
            size=self.size,
            flip=self.flip,
            scales=self.scales,
            fine_tuning=FineTuning(self.fine_tune, self.learning_rate) if self.fine_tune else None,
            session=session,
        )
        recipe, models = classifier.open()
        classifier.require_savable()  # before features are extracted, which takes minutes
        found = gather([recipe], models, everything.paths, session)
        split = divide(data, found.rows, session, splits=1, test_fraction=self.test_fraction)[0]
        labels = torch.from_numpy(everything.labels[found.rows])
        blocks = found.blocks(recipe)
        train, test = torch.from_numpy(split.train), torch.from_numpy(split.test)
        classifier.fit_blocks([block[train] for block in blocks], labels[train], data.classes)
        curve, few = few_shot_curve(classifier, blocks, labels, train, test, head, session)
        paths = [everything.paths[row] for row in found.rows]
        losses: tuple[Curves, ...] = ()
        if classifier.fine_tuning:
            known = [block[train] for block in blocks]
            history = classifier.tune(
                [paths[row] for row in train], known, labels[train], folder=session.out / "training"
            )
            losses = (_losses(history),)
            blocks = gather([recipe], classifier.models_, paths, session).blocks(recipe)
        keeping, saved = Keeping("the classifier"), []
        with keeping:
            saved = [classifier.save(session.out)]
            if not classifier.fine_tuning:
                remove_training(session.out / "training")  # of an earlier fit, whose model is gone
        probabilities = classifier.fitted_.probabilities([block[test] for block in blocks])
        answers = Answers(data.classes, labels[test], probabilities, tuple(paths[row] for row in test))
        right = (probabilities.argmax(1) == labels[test]).numpy()
        clean = right[~split.copied]
        calibration = reliability(probabilities, labels[test])
        accuracy = proportion(int(right.sum()), len(right))
        result = Result(
            title=f"{data.root.name} in {len(data.classes)} classes, on {recipe}",
            metrics={
                **accuracy.metrics("accuracy"),
                **proportion(int(clean.sum()), len(clean)).metrics("accuracy-without-copies"),
                "validation": classifier.fitted_.validation,
                "expected-calibration-error": calibration.error,
                "temperature": classifier.fitted_.temperature,
                "copies-across-splits": int(split.copied.sum()),
                **few,
            },
            blocks=(
                Note(
                    f"{accuracy.value:.1%} of {len(right)} test images are classified correctly; "
                    f"95 % Wilson interval {accuracy.low:.1%} to {accuracy.high:.1%}.",
                    "Accuracy",
                ),
                *(Note(f"{m.name} is a model: `deepscope classify IMAGES --model {m.name}`.", "Saved") for m in saved),
                *copies_note([split]),
                *evaluation_blocks(answers, calibration),
                curve,
                *losses,
                map_of_features(classifier, blocks, labels, data.classes, test, session, tsne=self.tsne),
                *skipped_blocks((*data.skipped, *found.skipped)),
            ),
            arrays={"probabilities": probabilities.numpy(), "labels": labels[test].numpy()},
            provenance=provenance([*models.values(), *saved], everything.paths),
        )
        return keeping.done(result)


def _losses(history: History) -> Curves:
    """How fine-tuning went."""
    steps, values = history.column("loss")
    return Curves((Series("training loss", steps, values),), "step", "loss", title="Fine-tuning")
