"""Calibrate any classifier by a temperature, and measure its calibration on other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deepscope.errors import DataError, DeepscopeError, UnsupportedError
from deepscope.images import Skipped
from deepscope.inputs import Photos, stream_photos
from deepscope.inputs.examples import Data, Examples
from deepscope.models import VisionModel, save_model
from deepscope.models.capabilities import require_one_class
from deepscope.models.scaling import with_temperature
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate
from deepscope.transfer.evaluation import Reliability, reliability
from deepscope.transfer.fitting import temperature

FEWEST = 4
"""Images that are needed: half of them choose, half of them measure."""
_DRAWS = 500


@dataclass(frozen=True, eq=False)
class Halves:
    """Labelled images that no choice has seen, and those that a choice is made on.

    Attributes:
        photos: all of them, without pixels.
        labels: (N,) the true classes.
        chosen: (N,) bool, which images the choice is made on.
    """

    photos: Photos
    labels: Tensor
    chosen: Tensor

    @classmethod
    def drawn(cls, photos: Photos, labels: Tensor, rng: torch.Generator) -> Halves:
        """Half of the images choose, drawn at random."""
        order = torch.randperm(len(labels), generator=rng)
        chosen = torch.zeros(len(labels), dtype=torch.bool)
        chosen[order[: len(order) // 2]] = True
        return cls(photos, labels, chosen)

    @property
    def logits(self) -> tuple[Tensor, Tensor]:
        """Of the images that choose, and of the others."""
        return self.photos.logits[self.chosen], self.photos.logits[~self.chosen]

    @property
    def answers(self) -> tuple[Tensor, Tensor]:
        """True classes of the images that choose, and of the others."""
        return self.labels[self.chosen], self.labels[~self.chosen]


@dataclass(frozen=True, eq=False)
class Calibration(Presented):
    """A temperature, and the calibration before and after on images that did not choose it.

    Attributes:
        model: before.
        temperature: that the logits are divided by.
        halves: the images.
        before, after: confidence against accuracy on the measuring images.
        saved: the folder or file of the calibrated model; None before `save_model`.
        unsaved: why it could not be saved; empty where it was, or was not meant to be.
    """

    model: VisionModel
    temperature: float
    halves: Halves
    before: Reliability
    after: Reliability
    saved: Path | None = None
    unsaved: str = ""

    def __len__(self) -> int:
        return int((~self.halves.chosen).sum())

    @cached_property
    def calibrated(self) -> VisionModel:
        """The model after."""
        return with_temperature(self.model, self.temperature)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What could not be read."""
        return self.halves.photos.skipped

    def error(self, *, calibrated: bool) -> Estimate:
        """The expected calibration error on the measuring images, with its bootstrap interval over images.

        The error is a mean of absolute values, so that it and even more its bootstrap are too high where images are
        few: compare two models by `fall`.
        """
        errors = self._errors(calibrated)
        low, high = np.quantile(errors, [0.025, 0.975])
        error = reliability(self._measured(calibrated), self.halves.answers[1]).error
        return Estimate(error, float(low), float(high))

    @property
    def fall(self) -> Estimate:
        """How far the temperature lowers the expected calibration error, with a paired bootstrap interval.

        Both errors come from the same images, and what lifts one lifts the other: it is certain where 0 lies outside.
        """
        low, high = np.quantile(self._errors(False) - self._errors(True), [0.025, 0.975])
        return Estimate(self.before.error - self.after.error, float(low), float(high))

    def likelihood(self, *, calibrated: bool) -> float:
        """The mean negative log-likelihood of the measuring images."""
        logits = self.halves.logits[1] / (self.temperature if calibrated else 1)
        return functional.cross_entropy(logits, self.halves.answers[1]).item()

    def save_model(self, folder: str | Path) -> Calibration:
        """Write the calibrated model, which `load_model` opens. Returns the same with `saved`.

        Raises:
            UnsupportedError: nothing rebuilds the network.
            FileError: the folder cannot be written to.
        """
        return replace(self, saved=save_model(self.calibrated, folder))

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per measuring image."""
        rows = (~self.halves.chosen).nonzero().flatten().tolist()
        classes, labels = self.model.categories, self.halves.answers[1]
        before, after = (self._measured(calibrated).max(1) for calibrated in (False, True))
        return {
            "image": [str(self.halves.photos.paths[row]) for row in rows],
            "class": [classes[label] for label in labels.tolist()],
            "predicted": [classes[label] for label in before.indices.tolist()],
            "confidence": before.values.tolist(),
            "calibrated": after.values.tolist(),
        }

    def _errors(self, calibrated: bool) -> NDArray[np.float64]:
        """(draws,) errors on images that are drawn with replacement; the same draws before and after."""
        probabilities, labels = self._measured(calibrated), self.halves.answers[1]
        rows = torch.randint(len(labels), (_DRAWS, len(labels)), generator=torch.Generator().manual_seed(0))
        return np.array([reliability(probabilities[drawn], labels[drawn]).error for drawn in rows])

    def _measured(self, calibrated: bool) -> Tensor:
        return (self.halves.logits[1] / (self.temperature if calibrated else 1)).softmax(1)


def calibrate(
    model: VisionModel,
    data: Data,
    *,
    limit: int | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> Calibration:
    """Choose the temperature that makes a classifier's confidences match its accuracy (Guo et al. 2017).

    Half of the images, drawn at random, choose it by likelihood with Platt's smoothed targets; the others measure the
    calibration before and after. Predictions stay the same.

    Args:
        model: any classifier of one class per image.
        data: labelled images that it was not trained on, see `Data`; of data with a split the test images.
        limit: most images to use, drawn at random.
        seed: of the draw.
        session: device, cache and progress; its own seed counts where it is given.

    Raises:
        UnsupportedError: the model has several labels per image.
        DataError: the data does not exist, has no labels, or fewer than 4 images of the model's classes.

    Example:
        >>> import numpy as np
        >>> import deepscope as ds
        >>> model = ds.load_model("efficientnet_lite0")
        >>> grey = [np.full((32, 32, 3), 8 * level, np.uint8) for level in range(24)]
        >>> found = ds.calibrate(model, [(image, "envelope") for image in grey])
        >>> len(found), found.temperature > 0
        (12, True)
    """
    session = Session.of(session, device=model.device, seed=seed)
    return calibration_of(model, read_halves(model, data, session, "calibration", limit=limit))


def calibration_of(model: VisionModel, halves: Halves) -> Calibration:
    """The same for images that were classified before."""
    (logits, others), (labels, truth) = halves.logits, halves.answers
    chosen = temperature(logits, labels)
    before, after = (reliability((others / divisor).softmax(1), truth) for divisor in (1.0, chosen))
    return Calibration(model, chosen, halves, before, after)


def read_halves(model: VisionModel, data: Data, session: Session, stream: str, *, limit: int | None = None) -> Halves:
    """Classify the held-out images of the data, half of which, drawn at random, are to choose something.

    A class folder without images is left out, as in an audit, and listed in `skipped`.

    Raises:
        UnsupportedError, DataError: see `calibrate`.
    """
    model.require_classes()
    require_one_class(model, stream)
    if model.head.thresholds:
        raise UnsupportedError(f"{stream} is for models without a threshold of their own", what=stream)
    examples, strange = _known(model, Examples.of(data, session, skip_empty=True).held_out)
    given = examples.given
    parts = [photos.keeping(0) for photos in stream_photos(model, given, session, limit=limit, text="classifying")]
    photos = Photos.joined(parts)
    photos = replace(photos, skipped=(*photos.skipped, *strange))
    if len(photos) < FEWEST:
        raise DataError(f"{len(photos)} images are too few: give at least {FEWEST} that the model was not trained on")
    labels = torch.tensor([min(answer) for answer in photos.answers])
    return Halves.drawn(photos, labels, session.rng(stream))


def _known(model: VisionModel, examples: Examples) -> tuple[Examples, tuple[Skipped, ...]]:
    """The images of classes that the model has, and the others.

    Raises:
        DataError: it has none of the classes.
    """

    def has(name: str | int) -> bool:
        try:
            model.category(name)
        except DeepscopeError:
            return False
        return True

    known = np.array([has(name) for name in examples.names.tolist()], dtype=bool)[examples.labels]
    if not known.any():
        raise DataError(
            f"{model.name} has none of the classes of {examples.name}: name folders or labels like its classes"
        )
    reason = f"{model.name} has no class of that name"
    strange = tuple(Skipped(str(path), reason) for path, taken in zip(examples.paths, known.tolist()) if not taken)
    return examples.at(np.flatnonzero(known)), strange
