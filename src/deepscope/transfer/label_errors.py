"""Which labels of a folder of images are probably wrong, and what that means for an accuracy measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.errors import DataError
from deepscope.images import Skipped
from deepscope.inputs.examples import Data, Examples, Source, thumbnail_of
from deepscope.models import DEFAULT, VisionModel, held_device
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion
from deepscope.transfer import confident_learning
from deepscope.transfer.fitting import fit_features
from deepscope.transfer.heads import Head
from deepscope.transfer.recipe import Feature, given_models, open_models, recipe_of
from deepscope.transfer.recipe_features import extract_recipes

_PLANTED = 0.05
_PLANTED_MOST = 0.2
_PLANTED_FEWEST = 10
"""Share of the labels that a trial changes on purpose: more among few images, so that there is something to find."""
FOUND = 0.85
"""AUROC of such labels from which the estimated share of wrong ones is stated: its interval must lie above."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelFindings(Presented):
    """How much of N labels is probably wrong.

    Attributes:
        name: of the data.
        classes: names.
        labels: (N,) the given classes.
        suspects: (N,) which labels are probably wrong, by confident learning.
        wrong: the estimated share of wrong labels.
        accuracy: of the cross-validated classifier against the given labels.
        bounds: what its accuracy against the true labels lies between.
        trial: the chance that the probability of a label that was changed on purpose is below that of another one
            (AUROC): how well wrong labels can be told from hard images here.
        joint: (C, C) the estimated share of images with given label (row) and true label (column).
        left_out: classes with fewer than two readable images, which cross-validation cannot use.
    """

    name: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    suspects: NDArray[np.bool_]
    wrong: Estimate
    accuracy: Estimate
    bounds: tuple[float, float]
    trial: Estimate
    joint: NDArray[np.float64]
    left_out: tuple[str, ...]

    @property
    def decides(self) -> bool:
        """Whether labels that were changed on purpose are found well enough for the share to mean anything."""
        return self.trial.low >= FOUND

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelErrors(LabelFindings):
    """N labelled images, and how much speaks against each label.

    Attributes:
        models: whose features were used, by name.
        paths: of the images.
        test: (N,) whether an image belongs to the data's own test images; None where the data is undivided.
        probabilities: (N, C) of each image, by a classifier that did not see its label.
        pictures: pixels of the most suspect images, by row; None where a file cannot be read any more.
        digests: SHA-256 of each image.
        skipped: what could not be read.
    """

    models: Mapping[str, VisionModel]
    paths: tuple[Path, ...]
    test: NDArray[np.bool_] | None
    probabilities: NDArray[np.float64]
    pictures: Mapping[int, Tensor | None]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(N,) the most probable classes."""
        return self.probabilities.argmax(1)

    @property
    def likely(self) -> NDArray[np.float64]:
        """(N,) their probabilities."""
        return self.probabilities.max(1)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(N,) the probabilities of the given labels: the lower, the more suspect."""
        return confident_learning.self_confidence(self.probabilities, self.labels)

    @property
    def ranked(self) -> NDArray[np.int64]:
        """The suspects' rows, the most suspect first."""
        rows = np.flatnonzero(self.suspects)
        return rows[np.argsort(self.confidence[rows], kind="stable")]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image."""
        return {
            "image": [str(path) for path in self.paths],
            "label": [self.classes[label] for label in self.labels.tolist()],
            "predicted": [self.classes[label] for label in self.predicted.tolist()],
            "probability": self.confidence.tolist(),
            "suspect": self.suspects.tolist(),
        }


def label_errors(
    data: Data,
    features: Feature = DEFAULT,
    *,
    head: str = "logistic-regression",
    limit: int | None = None,
    keep: int = 24,
    seed: int = 0,
    session: Session | None = None,
) -> LabelErrors:
    """Find labels that are probably wrong, by confident learning on out-of-fold probabilities.

    A trial with labels that are changed on purpose says whether wrong labels can be found with these features at all.
    Classifiers are fitted to features of the images by cross-validation, so that none sees the labels of the images
    that it classifies. Training and test images are pooled. A network that was itself trained on these labels may
    have memorised wrong ones: then fewer are found.

    Args:
        data: labelled images, see `Data`.
        features: of which layers of which networks; see `Feature`.
        head: the classifier on the features.
        limit: images to use, at most, drawn at random.
        keep: suspects whose pictures are returned, at most.
        seed: of the folds and the draw.
        session: device, precision, cache and progress; its own seed counts where it is given.

    Raises:
        SettingError: there is no such head.
        ModelError: there is no such model or layer.
        DataError: the data does not exist, or fewer than two classes have two readable images.

    Example:
        >>> import numpy as np
        >>> from deepscope.transfer import label_errors
        >>> grey = [np.full((32, 32, 3), level, np.uint8) for level in (*range(10, 90, 8), *range(170, 250, 8))]
        >>> labels = ["night"] * 10 + ["day"] * 10
        >>> labels[3] = "day"
        >>> found = label_errors(list(zip(grey, labels)), "efficientnet_lite0@blocks.0")
        >>> int(found.ranked[0])
        3
    """
    session = Session.of(session, device=held_device(features), seed=seed)
    chosen = Head.named(head)
    examples = Examples.of(data, session)
    recipe = recipe_of(features)
    models = open_models([recipe], given_models([features]), session)
    recipe = recipe.named(models)
    rows = np.array(session.some(range(len(examples)), limit), np.int64)
    test = None if examples.test is None else examples.test[rows]
    examples = examples.at(rows)
    found = extract_recipes([recipe], models, examples.sources, session)
    kept, labels, classes, left_out = _usable(examples, found.rows)
    blocks = [block[torch.from_numpy(kept)] for block in found.blocks(recipe)]
    used = found.rows[kept]
    probabilities = _out_of_fold(blocks, torch.from_numpy(labels), chosen, recipe.normalisation, session.seed)
    trial = _trial(blocks, labels, chosen, recipe.normalisation, session.seed)
    wrong = confident_learning.share_wrong(probabilities, labels, seed=session.seed)
    accuracy = proportion(int((probabilities.argmax(1) == labels).sum()), len(labels))
    made = LabelErrors(
        name=examples.name,
        models=models,
        classes=classes,
        paths=tuple(examples.paths[row] for row in used),
        labels=labels,
        test=None if test is None else test[used],
        probabilities=probabilities,
        suspects=confident_learning.suspects(probabilities, labels),
        wrong=wrong,
        accuracy=accuracy,
        bounds=confident_learning.accuracy_bounds(accuracy, wrong),
        trial=trial,
        joint=confident_learning.joint(probabilities, labels),
        left_out=left_out,
        pictures={},
        digests=tuple(found.digests[row] for row in used),
        skipped=(*examples.skipped, *found.skipped),
    )
    return replace(made, pictures=_pictures(made, [examples.sources[row] for row in used], keep))


def _usable(
    examples: Examples, readable: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
    """Places among the readable images, their labels among the classes that have two of them, these, and the others."""
    given = examples.labels[readable]
    enough = np.bincount(given, minlength=len(examples.classes)) >= 2
    if enough.sum() < 2:
        raise DataError("label errors need at least two classes with two readable images: add some", data=examples.name)
    kept = np.flatnonzero(enough[given])
    names = np.array(examples.classes, object)
    numbers = np.cumsum(enough) - 1
    return kept, numbers[given[kept]], tuple(names[enough]), tuple(names[~enough])


def _out_of_fold(
    blocks: Sequence[Tensor], labels: Tensor, head: Head, normalisation: Any, seed: int
) -> NDArray[np.float64]:
    """(N, C) calibrated probabilities of each image by a fit without its fold."""
    fitted = fit_features(blocks, labels, head, normalisation, seed=seed)
    assert fitted.head.out_of_fold is not None  # every class has two images
    return (fitted.head.out_of_fold.double() / fitted.temperature).softmax(1).numpy()


def _trial(blocks: Sequence[Tensor], labels: NDArray[np.int64], head: Head, normalisation: Any, seed: int) -> Estimate:
    """How well labels that are changed on purpose are told from the others, by classifiers fitted to all of these."""
    changed, wrong = confident_learning.planted(labels, planted_share(len(labels)), seed=seed)
    if not wrong.any():
        return confident_learning.separation(np.zeros(len(labels)), wrong)
    probabilities = _out_of_fold(blocks, torch.from_numpy(changed), head, normalisation, seed)
    return confident_learning.separation(confident_learning.self_confidence(probabilities, changed), wrong)


def planted_share(images: int) -> float:
    """The share of the labels that a trial changes."""
    return max(_PLANTED, min(_PLANTED_FEWEST / images, _PLANTED_MOST))


def _pictures(found: LabelErrors, sources: Sequence[Source], keep: int) -> dict[int, Tensor | None]:
    return {row: thumbnail_of(sources[row]) for row in found.ranked[: max(keep, 0)].tolist()}
