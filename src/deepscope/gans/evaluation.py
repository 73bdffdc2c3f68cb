"""`evaluate_gan`: quality, diversity and novelty of generated images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepscope.errors import DataError, DeepscopeError, SettingError
from deepscope.gans.measured_data import material, require_enough
from deepscope.gans.pictures import DIGITS, Labelled, Pictures, load_pictures, read_all
from deepscope.gans.quality import (
    NEAREST,
    Evaluator,
    bundled_features,
    classification_accuracy_score,
    compared,
    draw,
    fitting_evaluator,
    inception_features,
    likeness,
    memorised_by_chance,
    novelty,
    variety,
)
from deepscope.gans.saved import GAN, opened
from deepscope.inputs import Images
from deepscope.render import Presented
from deepscope.session import Session

_FEWEST_SAMPLES = 10
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class GANEvaluation(Presented):
    """The quality of generated images.

    Attributes:
        name: of the generator, or of the images.
        metrics: by name; "NAME/real" and "NAME-floor" are the values of real images in place of samples.
        evaluated: whether an evaluator knew these images; without one, classes are not recognised.
        missing: why other metrics are not measured, a sentence each.
        samples: (N, C, H, W) uint8 of the samples that are nearest to a training image.
        nearest: (N, C, H, W) uint8 of these training images.
        distances: (N,) root mean square differences, pixels in [0, 1].
        gan: the generator; None where its images alone were given.
        drawn: number of samples.
        held_out: number of held-out images.
        compared: number of images on each side of a distance.
    """

    name: str
    metrics: Mapping[str, float]
    evaluated: bool
    missing: tuple[str, ...]
    samples: Tensor
    nearest: Tensor
    distances: Tensor
    gan: GAN | None = None
    drawn: int = 0
    held_out: int = 0
    compared: int = 0

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per metric, with the value of real images."""
        rows = [(name, value, self.of_real_images(name)) for name, value in self.generated.items()]
        names, values, real = zip(*rows)
        return {"metric": names, "generated": values, "real images": real}

    @property
    def generated(self) -> dict[str, float]:
        """The metrics of generated images."""
        return {name: value for name, value in self.metrics.items() if not name.endswith(("/real", "-floor"))}

    def of_real_images(self, name: str) -> float | None:
        """The value of real images for a metric; None where it is not measured."""
        return self.metrics.get(f"{name}/real", self.metrics.get(f"{name}-floor"))


def evaluate_gan(
    gan: GAN | str | Path,
    data: Images | Pictures | None = None,
    *,
    evaluator: Evaluator | str | Path | None = None,
    samples: int = 10_000,
    score_epochs: int = 6,
    seed: int = 0,
    session: Session | None = None,
) -> GANEvaluation:
    """Measure a generator against held-out images of its data; real images give each metric's bound.

    Args:
        gan: a generator, or the folder of one.
        data: data to compare with; the generator's training data where None.
        evaluator: recognises classes; None for the one in the package, where it knows these images.
        samples: images to generate; the Frechet distance uses as many as there are held-out images.
        score_epochs: epochs of the classifier that is trained on generated images (classification accuracy score);
            0 skips it.
        seed: of the samples.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        FileError: the folder holds no generator, or a damaged one.
        DataError: the data is not like what the generator makes.

    Example:
        >>> from deepscope.gans import Architecture, Recipe, evaluate_gan, load_pictures, train_gan
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session(), hold_out=2400)
        >>> small = Architecture(width=2, latent=4)
        >>> trained = train_gan(digits, architecture=small, recipe=Recipe(epochs=1, batch_size=1000))
        >>> found = evaluate_gan(trained.gan, digits, samples=20)
        >>> found.metrics["digit-fid"] > found.metrics["digit-fid-floor"]
        True
    """
    if samples < _FEWEST_SAMPLES:
        raise SettingError("samples", f"must be at least {_FEWEST_SAMPLES}", got=samples)
    if score_epochs < 0:
        raise SettingError("score_epochs", "must be 0 or more", got=score_epochs)
    session = Session.of(session, seed=seed)
    gan = opened(gan, session)
    pictures, expert = material(gan, data, evaluator, session)
    if not pictures.stacked:
        require_enough(pictures)
    made = draw(gan, pictures, samples, session)
    metrics, missing = measure(gan, pictures, made, expert, session, score_epochs=score_epochs)
    return _evaluation(gan.name, metrics, missing, made, pictures, evaluated=expert is not None, gan=gan)


def evaluate_images(
    made: Images,
    data: Images | Pictures,
    *,
    side: int = 64,
    evaluator: Evaluator | str | Path | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> GANEvaluation:
    """Measure images that any generator made, as `evaluate_gan` measures its own.

    Args:
        made: a folder of generated images, or images in memory.
        data: what the generator was trained on: its held-out images are compared with, its training images are what
            the generator may have memorised.
        side: to which all images are cropped and resized; 32 for digits.
        evaluator: as for `evaluate_gan`.
        seed: of the training images that give each metric's bound.
        session: device, precision and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range.
        DataError: there are too few images.

    Example:
        >>> from deepscope.gans import evaluate_images, load_pictures
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session())
        >>> made = [image.expand(3, -1, -1) / 255 for image in digits.test.images[:40]]
        >>> evaluate_images(made, digits, side=32).metrics["memorised"] < 0.2
        True
    """
    session = Session.of(session, seed=seed)
    pictures = load_pictures(data, side, session)
    require_enough(pictures)
    images = read_all(made, side)
    if len(images) < _FEWEST_SAMPLES:
        raise DataError(f"{len(images)} generated images are too few: at least {_FEWEST_SAMPLES} are needed")
    if images.shape[1] != pictures.channels:  # grey images on one side, coloured ones on the other
        images, pictures = images.expand(-1, 3, -1, -1), pictures.in_colour()
    found = fitting_evaluator(evaluator, pictures)
    expert = found.to(session.device) if found else None
    samples = Labelled(images, torch.zeros(len(images), dtype=torch.int64))
    metrics, missing = _measured(samples, pictures, expert, session, conditional=False, stacked=False)
    name = str(made) if isinstance(made, (str, Path)) else "the images"
    return _evaluation(name, metrics, missing, samples, pictures, evaluated=expert is not None)


def _evaluation(
    name: str,
    metrics: dict[str, float],
    missing: list[str],
    made: Labelled,
    pictures: Pictures,
    *,
    evaluated: bool,
    gan: GAN | None = None,
) -> GANEvaluation:
    """The metrics, with memorisation and the samples that are nearest to a training image."""
    metrics["memorised"], near = novelty(made, pictures)
    metrics["memorised/real"] = memorised_by_chance(min(len(pictures.test), NEAREST))
    closest = near.distances.argsort()[:_SHOWN]
    return GANEvaluation(
        name,
        metrics,
        evaluated,
        tuple(missing),
        made.images[closest],
        pictures.train.images[near.rows[closest]],
        near.distances[closest],
        gan,
        drawn=len(made),
        held_out=len(pictures.test),
        compared=compared(len(made), pictures),
    )


def measure(
    gan: GAN,
    pictures: Pictures,
    samples: Labelled,
    evaluator: Evaluator | None,
    session: Session,
    *,
    score_epochs: int,
    folder: Path | None = None,
) -> tuple[dict[str, float], list[str]]:
    """All metrics that can be measured here, and why others cannot, a sentence each."""
    metrics, missing = _measured(samples, pictures, evaluator, session, conditional=gan.labelled, stacked=gan.stacked)
    if gan.labelled and score_epochs:
        metrics |= classification_accuracy_score(gan, pictures, epochs=score_epochs, session=session, folder=folder)
    return metrics, missing


def _measured(
    samples: Labelled,
    pictures: Pictures,
    evaluator: Evaluator | None,
    session: Session,
    *,
    conditional: bool,
    stacked: bool,
) -> tuple[dict[str, float], list[str]]:
    """The metrics of images alone."""
    metrics: dict[str, float] = {}
    missing: list[str] = []
    if evaluator is None:
        metrics |= likeness("bundled", bundled_features(session), samples.images, pictures, session)
    else:
        metrics |= variety(evaluator, samples, pictures, conditional=conditional)
        if not stacked:
            name = "digit" if pictures.classes == DIGITS else "judge"
            metrics |= likeness(name, evaluator.features, samples.images, pictures, session)
    try:
        found = likeness("inception", inception_features(session), samples.images, pictures, session)
        metrics |= {name: value for name, value in found.items() if name.startswith("inception")}
    except DeepscopeError as error:
        missing.append(f"{error}.")
    return metrics, missing
