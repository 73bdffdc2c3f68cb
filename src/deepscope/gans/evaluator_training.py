"""`train_evaluator`: classifiers that generators are evaluated with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscope.errors import DataError, SettingError
from deepscope.gans.pictures import Pictures, load_pictures
from deepscope.gans.quality.evaluator import Evaluator, fit_evaluator, run
from deepscope.inputs import Images
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.statistics import Estimate, proportion

_SMALLEST = 28


@dataclass(frozen=True, eq=False)
class TrainedEvaluator(Presented):
    """A trained evaluator, and how well it recognises held-out images.

    Attributes:
        evaluator: to give to `train_gan` and `evaluate_gan`.
        accuracy: on held-out images, of each of its two networks, with 95 % Wilson intervals.
        data: name of the training data.
        images: number of training images.
        held_out: number of images that it was measured on.
        folder: that the training is kept in.
    """

    evaluator: Evaluator
    accuracy: Mapping[str, Estimate]
    data: str
    images: int
    held_out: int
    folder: Path | None = None

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per network: its accuracy, with the interval."""
        found = self.accuracy.values()
        return {
            "network": list(self.accuracy),
            "accuracy": [one.value for one in found],
            "low": [one.low for one in found],
            "high": [one.high for one in found],
        }


def train_evaluator(
    data: Images | Pictures,
    *,
    side: int = 32,
    epochs: int = 6,
    folder: Path | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> TrainedEvaluator:
    """Train the two classifiers of a dataset that evaluate generators.

    The features of one give the Frechet distance, precision and recall; the other one recognises classes. Both learn
    from real training images and are measured on held-out ones.

    Args:
        data: name of a dataset, a folder with a folder for each class, or (image, label) pairs.
        side: side of the images in pixels, as in the generator.
        epochs: passes over the training images.
        folder: for checkpoints; a killed training resumes from there.
        seed: of weights and the order of images; the second network has the next one.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        DataError: the data has no classes.

    Example:
        >>> from deepscope.gans import load_pictures, train_evaluator
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session(), hold_out=2400)
        >>> train_evaluator(digits, epochs=1).accuracy["measure"].value > 0.5
        True
    """
    if epochs < 1:
        raise SettingError("epochs", "must be at least 1", got=epochs)
    if side < _SMALLEST:
        raise SettingError("side", f"must be at least {_SMALLEST}", got=side)
    session = Session.of(session, seed=seed)
    pictures = load_pictures(data, side, session)
    if not pictures.classes:
        raise DataError(
            f"{pictures.name} has no classes to recognise: give one folder of images per class", data=pictures.name
        )
    evaluator = fit_evaluator(pictures.train, pictures.classes, epochs=epochs, session=session, folder=folder)
    accuracy = {}
    for name, network in (("measure", evaluator.measure), ("verdict", evaluator.verdict)):
        right = int((run(network, pictures.test.images).argmax(1) == pictures.test.labels).sum())
        accuracy[name] = proportion(right, len(pictures.test))
    return TrainedEvaluator(evaluator, accuracy, pictures.name, len(pictures), len(pictures.test), folder)
