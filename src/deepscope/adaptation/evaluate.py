"""Measure a classifier on labelled images of two domains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepscope.adaptation.loading import DomainData, called, opened
from deepscope.data import DigitSplit
from deepscope.errors import DataError, SettingError
from deepscope.images import Skipped
from deepscope.inputs import nothing_readable, read
from deepscope.inputs.examples import Examples
from deepscope.models import VisionModel
from deepscope.models.capabilities import require_one_class
from deepscope.models.prediction import forward
from deepscope.names import Names
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion


@dataclass(frozen=True, eq=False)
class DomainPredictions:
    """The predictions of a model for the test images of one domain.

    Attributes:
        domain: "source" or "target".
        data: name of the data.
        paths: of the images, or names.
        labels: (N,) the true classes, as the model numbers them.
        predicted: (N,) most probable classes.
        remarks: notes on the data for the user.
        skipped: images that could not be read.
        strangers: classes of the data that the model does not have; their images are left out.
    """

    domain: str
    data: str
    paths: tuple[Path, ...]
    labels: Tensor
    predicted: Tensor
    remarks: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    strangers: tuple[str, ...] = ()

    @property
    def accuracy(self) -> Estimate:
        """With its 95 % Wilson interval."""
        return proportion(int((self.predicted == self.labels).sum()), len(self.labels))


@dataclass(frozen=True, eq=False)
class DomainEvaluation(Presented):
    """A classifier, measured on each domain that was given.

    Attributes:
        model: the classifier.
        domains: what it predicts for each.
    """

    model: VisionModel
    domains: tuple[DomainPredictions, ...]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image."""
        names = self.model.categories
        return {
            "domain": [each.domain for each in self.domains for _ in each.paths],
            "image": [str(path) for each in self.domains for path in each.paths],
            "class": [names[label] for each in self.domains for label in each.labels.tolist()],
            "predicted": [names[label] for each in self.domains for label in each.predicted.tolist()],
            "correct": [right for each in self.domains for right in (each.labels == each.predicted).tolist()],
        }


def evaluate(
    model: VisionModel,
    *,
    source: DomainData | None = None,
    target: DomainData | None = None,
    batch_size: int = 256,
    seed: int = 0,
    session: Session | None = None,
) -> DomainEvaluation:
    """Measure a classifier on labelled test images of the source domain, the target domain, or both.

    An adapted model uses the target's normalisation, on source images as well.

    Args:
        model: a classifier.
        source: labelled images; where the data has a split, its test images are used.
        target: labelled images of the target domain.
        batch_size: images per forward pass; the result does not depend on it.
        seed: of a session that is made here.
        session: device, precision and progress.

    Raises:
        SettingError: neither source nor target was given.
        ModelError: the model has no class layer.
        UnsupportedError: the model has several labels per image.
        DataError: the data has no labels, none of its classes is the model's, or no image could be read.

    Example:
        >>> import numpy as np, deepscope as ds
        >>> from deepscope.adaptation import evaluate
        >>> pairs = [(np.zeros((32, 32, 3), np.uint8), "tench"), (np.ones((32, 32, 3), np.uint8), "goldfish")]
        >>> evaluate(ds.load_model("efficientnet_lite0"), target=pairs).domains[0].accuracy.value
        0.0
    """
    named = {"source": source, "target": target}
    if all(data is None for data in named.values()):
        raise SettingError("source", "and {target} leave nothing to measure on: give one of them, or both")
    model.require_classes()
    require_one_class(model, "adapt evaluate", instead="measure it with `check accuracy`, which reads a file of labels")
    session = Session.of(session, device=model.device, seed=seed)
    return DomainEvaluation(
        model,
        tuple(
            _predictions(domain, data, model, session, batch_size) for domain, data in named.items() if data is not None
        ),
    )


def _predictions(
    domain: str, data: DomainData, model: VisionModel, session: Session, batch_size: int
) -> DomainPredictions:
    pairs, remarks, strangers = _labelled(data, model, session)
    paths: list[Path] = []
    labels: list[int] = []
    predicted: list[Tensor] = []
    skipped: list[Skipped] = []
    for batch in read(model, pairs, session, batch_size=batch_size, text="classifying"):
        skipped += batch.skipped
        if batch.rows:
            paths += batch.paths
            labels += [label for (label,) in batch.answers]
            predicted.append(forward(model, batch.pixels, session).argmax(1))
    if not paths:
        raise DataError(nothing_readable(skipped))
    truth = torch.tensor(labels)
    return DomainPredictions(
        domain, called(data), tuple(paths), truth, torch.cat(predicted), remarks, tuple(skipped), strangers
    )


def _labelled(
    data: DomainData, model: VisionModel, session: Session
) -> tuple[list[tuple[Any, int]], tuple[str, ...], tuple[str, ...]]:
    """The test images of some data (all, where it is undivided) with their classes in the model.

    Returns:
        image and class; remarks; the classes that the model does not have, whose images are left out.

    Raises:
        DataError: the data has no labels, or none of its classes is the model's.
    """
    found, remarks = opened(data, session), []
    if isinstance(found, DigitSplit):
        images = found.test.images if found.test.images.ndim == 4 else found.test.images[:, None].repeat(3, axis=1)
        sources: Iterable[Any] = np.moveaxis(images, 1, 3)
        names, labels = tuple(str(digit) for digit in range(10)), found.test.labels
    elif isinstance(found, Examples):
        part = found.held_out
        sources, names, labels = part.sources, part.classes, part.labels
        if found.test is None and found.folder is not None:
            remarks.append(
                "All images are measured, since the folder has no train/ and test/: on images that the model was "
                "trained on, accuracy is overestimated."
            )
    else:
        raise DataError(
            f"{called(data)} has no labels to measure by: give a folder with one folder of images per class"
        )
    indices = _indices(model, names, found)
    strangers = [name for name in names if indices[name] is None]
    if len(strangers) == len(names):
        raise DataError(f"none of the classes of {called(data)} ({', '.join(names[:5])}) is one of {model.name}'s")
    if strangers:
        remarks.append(f"No classes of the model, left out: {', '.join(strangers)}.")
    pairs: list[tuple[Any, int]] = [
        (source, index)
        for source, label in zip(sources, labels.tolist(), strict=True)
        if (index := indices[names[label]]) is not None
    ]
    return pairs, tuple(remarks), tuple(strangers)


def _indices(model: VisionModel, names: Sequence[str], found: DigitSplit | Examples) -> Mapping[str, int | None]:
    """The model's class of each of the data's classes: by name, or by number where the caller gave numbers."""
    if isinstance(found, Examples) and found.values is not None and found.values.dtype.kind in "iu":
        return {name: model.category(int(value)) for name, value in zip(names, found.values, strict=True)}
    return Names(model.categories).paired(names)
