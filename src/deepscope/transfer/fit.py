"""Fit a classifier to labelled images and measure it on the test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.errors import SettingError
from deepscope.images import Skipped
from deepscope.inputs.examples import Data, Examples
from deepscope.models import DEFAULT, VisionModel, held_device
from deepscope.models.classifier import join
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.training import History, remove_training
from deepscope.transfer.evaluation import Answers, Blocks, Reliability, few_shot, plane, reliability
from deepscope.transfer.fine_tuning import FineTuning
from deepscope.transfer.heads import Head
from deepscope.transfer.measuring import Measurable
from deepscope.transfer.recipe import Feature
from deepscope.transfer.recipe_features import extract_recipes
from deepscope.transfer.splits import Holdout, Split

if TYPE_CHECKING:
    from deepscope.transfer.classifier import ImageClassifier

_SHOTS = (1, 5, 10, 25, 50, 100)
_DRAWS = 5
_TRAINING = "training"
"""The folder of fine-tuning's checkpoints, in the classifier's own."""


@dataclass(frozen=True, eq=False)
class FittedClassifier(Presented):
    """A classifier fitted to the training images, with its predictions for the test images.

    Attributes:
        classifier: predicts; its `model` is a `VisionModel`.
        data: the images.
        backbones: the pretrained models it is built on, by name.
        split: rows of the readable images that train and that test.
        answers: predictions for the test images.
        calibration: confidence against accuracy.
        shots: training images per class -> test accuracies of classifiers fitted to that many, one per draw.
        draws: draws per number of images, where they can differ.
        places: (test images, 2) the test images' features in the plane.
        tsne: whether the plane is t-SNE's; otherwise it is that of the two principal components.
        history: of fine-tuning; None without.
        digests: SHA-256 of each of the data's images.
        skipped: what could not be read.
        saved: the model as it was saved; None before `save_model`.
    """

    classifier: ImageClassifier
    data: Examples
    backbones: Mapping[str, VisionModel]
    split: Split
    answers: Answers
    calibration: Reliability
    shots: Mapping[int, tuple[float, ...]]
    draws: int
    places: NDArray[np.float64]
    tsne: bool
    history: History | None
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]
    saved: VisionModel | None = None

    def __len__(self) -> int:
        return len(self.answers.paths)

    @property
    def model(self) -> VisionModel:
        """The classifier as a model: the saved one, where there is one."""
        return self.saved or self.classifier.model

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(test images,) whether each prediction is correct."""
        return (self.answers.predicted == self.answers.labels).numpy()

    def save_model(self, folder: str | Path) -> FittedClassifier:
        """Write the model to a folder, which `load_model` opens. Returns the same with `saved`.

        The checkpoints of an earlier fit in that folder are removed.

        Raises:
            UnsupportedError: it cannot be saved.
            FileError: the folder cannot be written to.
            OSError: a checkpoint of an earlier fit cannot be removed.
        """
        saved = self.classifier.save(folder)
        if self.history is None:
            remove_training(Path(folder) / _TRAINING)  # of an earlier fit, whose model is gone
        return replace(self, saved=saved)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per test image."""
        classes, found = self.answers.classes, self.answers
        return {
            "image": [str(path) for path in found.paths],
            "class": [classes[label] for label in found.labels.tolist()],
            "predicted": [classes[label] for label in found.predicted.tolist()],
            "probability": found.probabilities.amax(1).tolist(),
            "correct": self.correct.tolist(),
            "copy_of_training_image": self.split.copied.tolist(),
        }


def fit(  # noqa: PLR0913 - its settings are keywords
    data: Data,
    features: Feature = DEFAULT,
    *,
    head: str = "linear-svc",
    fine_tuning: FineTuning | None = None,
    holdout: Holdout = Holdout(),
    tsne: bool = False,
    folder: Path | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> FittedClassifier:
    """Fit a classifier to the training images, with settings chosen by cross-validation, and measure it.

    Measured on the test images: accuracy, calibration, how accuracy grows with the number of training images, and the
    most confident mistakes.

    Args:
        data: labelled images, see `Data`.
        features: layers of networks; see `Feature`.
        head: linear-svc, logistic-regression or ridge; nearest-neighbours, where no model is needed.
        fine_tuning: how the networks are fine-tuned, a tenth of the training images held out; None does not fine-tune.
        holdout: how test images are set aside.
        tsne: the plane of the features is t-SNE's; otherwise that of their two principal components.
        folder: where the model will be saved: what cannot be saved is refused before anything is computed, and
            fine-tuning keeps its checkpoints there.
        seed: of splits, folds and training.
        session: device, precision, cache and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or the head cannot be saved.
        ModelError: there is no such model or layer, or it cannot be saved.
        DataError: the data does not exist, or has too few classes or images.

    Example:
        >>> import numpy as np
        >>> from deepscope.transfer import fit
        >>> grey = [np.full((32, 32, 3), level, np.uint8) for level in range(0, 240, 20)]
        >>> pairs = [(image, "night" if row < 6 else "day") for row, image in enumerate(grey)]
        >>> fitted = fit(pairs, "efficientnet_lite0@blocks.1")
        >>> len(fitted), fitted.model.categories
        (4, ('day', 'night'))
    """
    from deepscope.transfer.classifier import ImageClassifier

    session = Session.of(session, device=held_device(features), seed=seed)
    if not Head.member(head).linear and folder is not None:
        linear = " or ".join(name for name, member in Head.members().items() if member.linear)
        raise SettingError("head", f"{head} cannot be saved as the last layer of a network: use {linear}")
    examples = Examples.of(data, session)
    classifier = ImageClassifier.of(features, head=head, fine_tuning=fine_tuning, session=session)
    recipe, backbones = classifier.open()
    if folder is not None:
        classifier.require_savable()  # before features are extracted, which takes minutes
    on = Measurable.extracted(examples, [recipe], backbones, replace(holdout, splits=1), session)
    split, labels = on.splits[0], torch.from_numpy(on.labels)
    blocks, sources = on.features.blocks(recipe), on.sources
    train, test = torch.from_numpy(split.train), torch.from_numpy(split.test)
    known = [block[train] for block in blocks]
    digests = [on.features.digests[on.features.rows[row]] for row in split.train]
    classifier.fit_blocks(known, labels[train], examples.names, digests)
    shots = _shots(classifier, (known, labels[train]), ([block[test] for block in blocks], labels[test]), session)
    history = None
    if fine_tuning:
        checkpoints = None if folder is None else folder / _TRAINING
        history = classifier.tune([sources[row] for row in split.train], known, labels[train], folder=checkpoints)
        blocks = extract_recipes([recipe], classifier.models_, sources, session).blocks(recipe)
    tested: list[Tensor] = [block[test] for block in blocks]
    probabilities = classifier.fitted_.probabilities(tested)
    answers = Answers(examples.classes, labels[test], probabilities, tuple(on.paths[row] for row in split.test))
    return FittedClassifier(
        classifier,
        examples,
        backbones,
        split,
        answers.pictured([sources[row] for row in split.test]),
        reliability(probabilities, labels[test]),
        shots,
        _DRAWS,
        plane(join(classifier.fitted_.normalisations, tested), seed=session.seed, tsne=tsne),
        tsne,
        history,
        on.features.digests,
        (*examples.skipped, *on.features.skipped),
    )


def _shots(classifier: ImageClassifier, train: Blocks, test: Blocks, session: Session) -> dict[int, tuple[float, ...]]:
    """Test accuracies of classifiers that are fitted to few images per class."""
    smallest = int(train[1].bincount().min())
    shots = sorted({shot for shot in _SHOTS if shot < smallest} | {min(smallest, _SHOTS[-1])})
    head, kind = Head.named(classifier.head), classifier.recipe_.normalisation
    found = few_shot(train, test, head, kind, shots=shots, draws=_DRAWS, rng=session.rng("few-shot"))
    return {shot: tuple(accuracies) for shot, accuracies in found.items()}
