"""Choose the confidence below which a classifier abstains, so that it is right often enough on the rest.

Selection with guaranteed risk: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from deepscope.errors import DataError
from deepscope.inputs.examples import Data
from deepscope.models import VisionModel, save_model
from deepscope.models.scaling import abstaining
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.settings import Range
from deepscope.statistics import Estimate, lower_bound, proportion
from deepscope.transfer.calibration import Halves, read_halves

_PROPER = Range(most=1, above=True, below=True)
_THRESHOLDS = 16
"""Thresholds that are tried: more are finer, and leave each less of the error."""


@dataclass(frozen=True)
class Threshold:
    """A confidence below which to abstain.

    Attributes:
        confidence: that a prediction needs; infinite where no threshold guarantees the accuracy.
        guaranteed: lower bound of the accuracy on images above it, NaN where there is none.
    """

    confidence: float
    guaranteed: float

    @property
    def found(self) -> bool:
        """Whether there is one."""
        return math.isfinite(self.confidence)


def threshold(confidence: Tensor, right: Tensor, accuracy: float, *, error: float) -> Threshold:
    """The lowest of 16 thresholds above which the accuracy is at least that wanted, as far as the images guarantee it.

    The thresholds lie at fixed ranks of the (N,) confidences, so that each splits off the same share of the images.
    Given the image at a rank, those above it are a sample of all images above its confidence; each has a
    Clopper-Pearson bound that is wrong with a probability of at most `error` / 16, so all of them hold together. The
    binary search of Geifman and El-Yaniv divides `error` among its steps alone, which only holds where accuracy rises
    with confidence: the ranks that it asks for depend on the answers.

    Args:
        confidence: (N,) of images that were not trained on.
        right: (N,) bool, whether each prediction is correct.
        accuracy: that is wanted on the images that are answered.
        error: largest probability that the guarantee is wrong.
    """
    ascending, order = confidence.sort()
    hits, count = right[order], len(confidence)
    for rank in sorted({place * count // _THRESHOLDS for place in range(_THRESHOLDS)}):
        lowest = ascending[rank - 1].nextafter(ascending.new_tensor(math.inf)) if rank else ascending.new_tensor(0.0)
        kept = ascending >= lowest  # equal confidences stay together
        if (bound := lower_bound(int(hits[kept].sum()), int(kept.sum()), error=error / _THRESHOLDS)) >= accuracy:
            return Threshold(float(lowest), bound)
    return Threshold(math.inf, math.nan)


@dataclass(frozen=True, eq=False)
class Abstention(Presented):
    """A threshold, and what it does on images that did not choose it.

    Attributes:
        model: the classifier.
        accuracy: that is wanted on the images that are answered.
        error: largest probability that the guarantee is wrong.
        threshold: the confidence that a prediction needs.
        halves: the images.
        saved: the folder or file of the model with its threshold; None before `save_model`.
        unsaved: why it could not be saved; empty where it was, or was not meant to be.
    """

    model: VisionModel
    accuracy: float
    error: float
    threshold: Threshold
    halves: Halves
    saved: Path | None = None
    unsaved: str = ""

    def __len__(self) -> int:
        return int((~self.halves.chosen).sum())

    @property
    def confidence(self) -> Tensor:
        """(M,) of the measuring images."""
        return self.model.probabilities(self.halves.logits[1]).amax(1)

    @property
    def correct(self) -> Tensor:
        """(M,) bool, of the measuring images, whether they are answered or not."""
        return self.halves.logits[1].argmax(1) == self.halves.answers[1]

    @property
    def answered(self) -> Tensor:
        """(M,) bool: the measuring images on which the classifier does not abstain."""
        return self.confidence >= self.threshold.confidence

    @property
    def coverage(self) -> Estimate:
        """The share of the measuring images that are answered."""
        return proportion(int(self.answered.sum()), len(self))

    @property
    def selective(self) -> Estimate:
        """The accuracy on those that are answered."""
        return proportion(int((self.correct & self.answered).sum()), int(self.answered.sum()))

    @property
    def abstaining(self) -> VisionModel:
        """The classifier with its threshold: `classify` gives no answer below it. The same where there is none."""
        return abstaining(self.model, self.threshold.confidence) if self.threshold.found else self.model

    def save_model(self, folder: str | Path) -> Abstention:
        """Write the classifier with its threshold, which `load_model` opens. Returns the same with `saved`.

        Raises:
            DataError: there is no threshold to save.
            UnsupportedError: nothing rebuilds the network.
            FileError: the folder cannot be written to.
        """
        if not self.threshold.found:
            raise DataError("no threshold guarantees the accuracy, so there is none to save")
        return replace(self, saved=save_model(self.abstaining, folder))

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per measuring image."""
        rows = (~self.halves.chosen).nonzero().flatten().tolist()
        predicted = self.halves.logits[1].argmax(1).tolist()
        return {
            "image": [str(self.halves.photos.paths[row]) for row in rows],
            "predicted": [self.model.categories[label] for label in predicted],
            "confidence": self.confidence.tolist(),
            "answered": self.answered.tolist(),
            "correct": self.correct.tolist(),
        }


def abstain(
    model: VisionModel,
    data: Data,
    accuracy: float = 0.95,
    *,
    error: float = 0.05,
    limit: int | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> Abstention:
    """Choose the confidence below which a classifier abstains, for a wanted accuracy on the images it answers.

    Half of the images, drawn at random, choose it, with a guarantee for new images from the same source that is wrong
    with a probability of at most `error`. The others measure coverage and accuracy.

    Args:
        model: any classifier of one class per image.
        data: labelled images that it was not trained on, see `Data`; of data with a split the test images.
        accuracy: that is wanted on the images that are answered.
        error: largest probability that the guarantee is wrong.
        limit: most images to use, drawn at random.
        seed: of the draw.
        session: device, cache and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        UnsupportedError, DataError: as `calibrate`.

    Example:
        >>> import numpy as np
        >>> import deepscope as ds
        >>> grey = [(np.full((32, 32, 3), 8 * level, np.uint8), "envelope") for level in range(24)]
        >>> found = ds.abstain(ds.load_model("efficientnet_lite0"), grey, 0.9)
        >>> len(found), found.threshold.found  # 12 images cannot guarantee it
        (12, False)
    """
    for setting, value in (("accuracy", accuracy), ("error", error)):
        _PROPER.check(setting, value)
    session = Session.of(session, device=model.device, seed=seed)
    halves = read_halves(model, data, session, "abstention", limit=limit)
    return abstention_of(model, halves, accuracy, error=error)


def abstention_of(model: VisionModel, halves: Halves, accuracy: float, *, error: float) -> Abstention:
    """The same for images that were classified before."""
    logits, labels = halves.logits[0], halves.answers[0]
    confidence, right = model.probabilities(logits).amax(1), logits.argmax(1) == labels
    return Abstention(model, accuracy, error, threshold(confidence, right, accuracy, error=error), halves)
