"""Choose the confidence below which a classifier abstains, so that it is right often enough on the rest.

Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from deepscope.inputs.examples import Data
from deepscope.models import VisionModel
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.settings import Range
from deepscope.statistics import Estimate, lower_bound, proportion
from deepscope.transfer.calibration import Halves, read_halves

_PROPER = Range(most=1, above=True, below=True)


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
    """The lowest confidence found above which the accuracy is at least that wanted: SGR (Geifman and El-Yaniv).

    A binary search over the (N,) confidences asks at each of its steps for a Clopper-Pearson bound that is wrong with
    a probability of at most `error` divided by the number of steps, so all of them hold together.

    Args:
        confidence: (N,) of images that were not trained on.
        right: (N,) bool, whether each prediction is correct.
        accuracy: that is wanted on the images that are answered.
        error: probability that the guarantee is wrong, at most.
    """
    ascending, order = confidence.sort()
    hits, count = right[order].int(), len(confidence)
    steps = max(1, math.ceil(math.log2(count)))
    low, high, best = 0, count - 1, Threshold(math.inf, math.nan)
    for _ in range(steps):
        middle = (low + high + 1) // 2
        kept = ascending >= ascending[middle]  # equal confidences stay together
        bound = lower_bound(int(hits[kept].sum()), int(kept.sum()), error=error / steps)
        if bound >= accuracy:
            if float(ascending[middle]) < best.confidence:
                best = Threshold(float(ascending[middle]), bound)
            high = middle
        else:
            low = middle
    return best


@dataclass(frozen=True, eq=False)
class Abstention(Presented):
    """A threshold, and what it does on images that did not choose it.

    Attributes:
        model: the classifier.
        accuracy: that is wanted on the images that are answered.
        error: probability that the guarantee is wrong, at most.
        threshold: the confidence that a prediction needs.
        halves: the images.
    """

    model: VisionModel
    accuracy: float
    error: float
    threshold: Threshold
    halves: Halves

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
        error: probability that the guarantee is wrong, at most.
        limit: most images to use, drawn at random.
        seed: of the draw.
        session: device, cache and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        UnsupportedError, DataError, UnknownNameError: as `calibrate`.

    Example:
        >>> import numpy as np
        >>> import deepscope as ds
        >>> from deepscope.transfer.abstention import abstain
        >>> grey = [(np.full((32, 32, 3), 8 * level, np.uint8), "envelope") for level in range(24)]
        >>> found = abstain(ds.load_model("efficientnet_lite0"), grey, 0.9)
        >>> len(found), found.threshold.found  # 12 images cannot guarantee it
        (12, False)
    """
    for setting, value in (("accuracy", accuracy), ("error", error)):
        _PROPER.check(setting, value)
    session = Session.of(session, device=model.device, seed=seed)
    halves = read_halves(model, data, session, "abstention", limit=limit)
    logits, labels = halves.logits[0], halves.answers[0]
    confidence, right = model.probabilities(logits).amax(1), logits.argmax(1) == labels
    return Abstention(model, accuracy, error, threshold(confidence, right, accuracy, error=error), halves)
