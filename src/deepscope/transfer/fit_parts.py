"""Fit a classifier to features that `transfer features` wrote, of more images than memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.errors import DataError, ModelError, SettingError
from deepscope.models import VisionModel, load_model
from deepscope.models.classifier import Normalisation, NormalisationKind
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion
from deepscope.transfer.classifier import ImageClassifier
from deepscope.transfer.fitting import REMEMBERED, FittedFeatures, temperature
from deepscope.transfer.heads import Head, Streamed, folds_of
from deepscope.transfer.heads.streamed import drawn
from deepscope.transfer.parts import FeatureParts
from deepscope.transfer.recipe import Recipe


@dataclass(frozen=True, eq=False)
class FittedParts(Presented):
    """A classifier fitted to features in parts, measured on the images that were held out.

    Attributes:
        classifier: predicts; its `model` is a `VisionModel`.
        data: the features.
        test: (N,) bool, the images that were held out.
        right: (C,) test images that are classified correctly, by class.
        tested: (C,) test images by class.
        saved: the model as it was saved; None before `save_model`.
    """

    classifier: ImageClassifier
    data: FeatureParts
    test: NDArray[np.bool_]
    right: NDArray[np.int64]
    tested: NDArray[np.int64]
    saved: VisionModel | None = None

    def __len__(self) -> int:
        return int(self.tested.sum())

    @property
    def model(self) -> VisionModel:
        """The classifier as a model: the saved one, where there is one."""
        return self.saved or self.classifier.model

    @property
    def accuracy(self) -> Estimate:
        """On the images that were held out."""
        return proportion(int(self.right.sum()), len(self))

    def save_model(self, folder: str | Path) -> FittedParts:
        """Write the model to a folder, which `load_model` opens. Returns the same with `saved`.

        Raises:
            FileError: the folder cannot be written to.
        """
        return replace(self, saved=self.classifier.save(folder))

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per class."""
        return {"class": self.data.classes, "test_images": self.tested.tolist(), "right": self.right.tolist()}


def fit_parts(
    folder: str | Path,
    *,
    head: str = "linear-svc",
    normalisation: NormalisationKind = "l2",
    test_fraction: float = 0.3,
    seed: int = 0,
    session: Session | None = None,
) -> FittedParts:
    """Fit a classifier to the features that `transfer features` wrote to a folder, and measure it.

    Features are read block by block, as often as the head needs them. The class of an image is the folder that it is
    in, or its label in a table. Which images are held out follows from their content: copies of an image stay together.

    Args:
        folder: the output folder of `transfer features`.
        head: ridge or linear-svc.
        normalisation: l2, power, raw or standard.
        test_fraction: share of the images that is held out.
        seed: of folds and of what is held out.
        session: device and progress; its own seed counts where it is given.

    Raises:
        DataError: the parts are no features, are not complete, or a class has no training image.
        ModelError: the model has changed since, or cannot be saved.
        SettingError, UnsupportedError: the head or the normalisation needs all features at once.
        FileError: a part is damaged.
    """
    session = Session.of(session, seed=seed)
    if normalisation == "whiten":
        raise SettingError("normalisation", "needs all features at once: use l2, power, raw or standard", got="whiten")
    if not 0 < test_fraction < 1:
        raise SettingError("test_fraction", "must be above 0 and below 1", got=test_fraction)
    member = Head.named(head)
    member.require_streamed()
    data = FeatureParts.of(folder)
    model = load_model(data.block.model, session)
    if model.identity != data.weights:
        text = f"{model.name} has other weights than when the features were computed: compute them again"
        raise ModelError(text, model=model.name)
    classifier = ImageClassifier.of(Recipe((data.block,), normalisation), head=head, session=session)
    classifier.open({data.block.model: model})
    classifier.require_savable()
    test = _held_out(data, test_fraction, session.seed)
    labels = torch.from_numpy(data.labels)
    counts = labels[~torch.from_numpy(test)].bincount(minlength=len(data.classes))
    if not counts.all() or not test.any():
        lost = data.classes[int(counts.argmin())]
        raise DataError(f"class {lost!r} has {int(counts.min())} training images: add some, or hold out fewer images")
    fitted = _fitted(data, ~test, labels, member, normalisation, session)
    train = ~test
    digests = [bytes(one) for one in data.digests[train]] if train.sum() <= REMEMBERED else []
    classifier.take(fitted, data.classes, digests)
    right, tested = np.zeros((2, len(data.classes)), dtype=np.int64)
    rows = iter(data.labels[test])
    for block in data.read(test):
        predicted = fitted.scores([block]).argmax(1).numpy()
        truth = np.fromiter(rows, np.int64, len(block))
        np.add.at(right, truth[predicted == truth], 1)
        np.add.at(tested, truth, 1)
    return FittedParts(classifier, data, test, right, tested)


def _held_out(data: FeatureParts, fraction: float, seed: int) -> NDArray[np.bool_]:
    """(N,) bool: by the digest, so that copies of an image are on one side."""
    first = np.frombuffer(data.digests.tobytes(), dtype="<u8").reshape(len(data), 4)[:, 0]
    mixed = np.random.default_rng(seed).integers(0, 2**64, dtype=np.uint64)
    return (first ^ mixed) < np.uint64(min(fraction * 2.0**64, 2.0**64 - 2**11))


def _fitted(
    data: FeatureParts,
    train: NDArray[np.bool_],
    labels: Tensor,
    head: Head,
    kind: NormalisationKind,
    session: Session,
) -> FittedFeatures:
    normalisation = _normalisation(kind, partial(data.read, train)())
    features = normalised(data, train, labels[torch.from_numpy(train)], normalisation)
    sample = features.labels[features.sample]
    fitted = head.fit_streamed(features, folds_of(sample, seed=session.seed))
    return FittedFeatures(
        (normalisation,),
        fitted,
        temperature(fitted.out_of_fold, sample),
        fitted.accuracy_out_of_fold(sample),
        head.name,
    )


def normalised(data: FeatureParts, rows: NDArray[np.bool_], labels: Tensor, normalisation: Normalisation) -> Streamed:
    """Normalised features of some of the images, with their labels."""

    def read() -> Iterator[Tensor]:
        with torch.no_grad():
            yield from (normalisation(block) for block in data.read(rows))

    return Streamed(labels, read, drawn(labels))


def _normalisation(kind: NormalisationKind, blocks: Iterator[Tensor]) -> Normalisation:
    """As `Normalisation.fit`, in one pass."""
    nothing = torch.empty(0)
    if kind in ("l2", "power"):
        return Normalisation(kind, nothing, nothing, nothing)
    first = next(blocks).double()
    near, count = first.mean(0), len(first)
    sums, squares, norms = (first - near).sum(0), (first - near).square().sum(0), first.square().sum()
    for block in map(Tensor.double, blocks):
        count, norms = count + len(block), norms + block.square().sum()
        sums += (block - near).sum(0)
        squares += (block - near).square().sum(0)
    if kind == "raw":
        return Normalisation(kind, nothing, (1 / (norms / count).sqrt().clamp(min=1e-12)).float().reshape(1), nothing)
    deviation = (squares / count - (sums / count).square()).clamp(min=0).sqrt()
    scale = torch.where(deviation > 1e-12, 1 / deviation.clamp(min=1e-12), 0) / len(near) ** 0.5
    return Normalisation(kind, (near + sums / count).float(), scale.float(), nothing)
