"""The trainings of the studies of generation, and the figures kept of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from deepscope.data import first_here
from deepscope.devices import one_thread
from deepscope.errors import SettingError
from deepscope.gans import (
    DIGITS,
    GAN,
    Architecture,
    Pictures,
    Recipe,
    TrainedGAN,
    balanced,
    generate,
    latents,
    load_pictures,
    train_gan,
)
from deepscope.gans.evaluation import measure
from deepscope.gans.grid import style_agreement
from deepscope.gans.quality import Evaluator, draw, fit_evaluator, fitting_evaluator, novelty
from deepscope.gans.style import slant
from deepscope.kept import Arrays, digest, kept, training_folder
from deepscope.models.identity import weights_sha256
from deepscope.session import Session
from deepscope.studies.arms import ONE_THREAD, Outcome, Trained, train_arms

_SIDE, _EVALUATOR_EPOCHS = 32, 6
_STYLED, _TAIL = 2000, 0.1
_FEWEST_SAMPLES, _FEWEST_IMAGES = 30, 1000


@dataclass(frozen=True)
class Arm:
    """A GAN to train.

    Attributes:
        name: what is special about it.
        architecture, recipe: of the training.
        conditional: with classes.
        stacked: on three digits in the colours of each image.
    """

    name: str
    architecture: Architecture
    recipe: Recipe
    conditional: bool = False
    stacked: bool = False

    def identity(self, session: Session) -> str:
        """Its epochs, its name, and eight hexadecimal digits that change with every setting of the training."""
        settings = [asdict(self.architecture), self.recipe.recorded(), self.conditional, self.stacked]
        precision = "auto" if session.may_halve else session.precision
        said = json.dumps([*settings, precision], sort_keys=True)
        digits = hashlib.sha256(said.encode()).hexdigest()[:8]
        return f"{self.recipe.epochs}-{self.name.replace(':', '-')}-{digits}"


GANOutcome: TypeAlias = Outcome[Arm, TrainedGAN]
"""Figures as `gan evaluate` names them, and "early-gradient", "style/..." and "arithmetic/..."."""
TrainedGANs: TypeAlias = Trained[Arm, TrainedGAN]
"""Every arm of a study of generation, from every seed."""


@dataclass(frozen=True)
class Plan:
    """The size of the trainings and measurements.

    Attributes:
        seeds: trainings per arm.
        images: training digits; None takes all.
        samples: by which each arm is measured.
        evaluator: folder of `gan evaluator`; else the one in the package, else one is trained first.
        needed: names of the arms that must not diverge.
        scored: names of the arms that are also measured by a classifier trained on their samples.
    """

    seeds: int
    images: int | None
    samples: int
    evaluator: Path | None
    needed: Collection[str]
    scored: Collection[str] = ()

    def check(self) -> None:
        """Raises SettingError where a number is too small."""
        limits = (("seeds", self.seeds, 1), ("samples", self.samples, _FEWEST_SAMPLES))
        for name, value, least in (*limits, ("images", self.images, _FEWEST_IMAGES)):
            if value is not None and value < least:
                raise SettingError(name, f"must be at least {least}", got=value)


def train_all(arms: Sequence[Arm], session: Session, study: str, plan: Plan) -> TrainedGANs:
    """Train every arm from the session's seed and the next ones, on MNIST or the extract in the package.

    Args:
        arms: what to train.
        session: where trainings are kept, and how they are computed.
        study: names the folder that they are kept in.
        plan: how much is trained and measured.

    Raises:
        SettingError: there are fewer than one seed, 30 samples or 1000 images.
        Diverged: a needed arm did.
    """
    plan.check()
    name = first_here(["mnist", "mnist-extract"], session)
    pictures = load_pictures(name, _SIDE, session)
    root = training_folder(session, study, "deepscope.gans")
    evaluator = _evaluator(plan, pictures, session, root)
    if plan.images is not None:
        pictures = replace(pictures, train=pictures.train.some(plan.images, session.rng("images")))

    def one(arm: Arm, own: Session) -> GANOutcome:
        folder = root / f"{name}-{plan.images or 'all'}-{arm.identity(own)}" / f"seed-{own.seed}"
        epochs = _EVALUATOR_EPOCHS if arm.name in plan.scored else 0
        return train(arm, pictures, evaluator, own, folder, samples=plan.samples, score_epochs=epochs)

    data = f"{len(pictures.train)} images of {name}"
    return train_arms(arms, one, session, seeds=plan.seeds, needed=plan.needed, data=data)


def _evaluator(plan: Plan, pictures: Pictures, session: Session, root: Path) -> Evaluator:
    found = fitting_evaluator(plan.evaluator, pictures)
    if found is None:  # trained from a seed of its own: never one of the generators'
        own = replace(session, seed=session.seed + 1000)
        folder = root / "evaluator"
        found = fit_evaluator(pictures.train, pictures.classes, epochs=_EVALUATOR_EPOCHS, session=own, folder=folder)
    return found.to(session.device)


def train(
    arm: Arm,
    pictures: Pictures,
    evaluator: Evaluator,
    session: Session,
    folder: Path,
    *,
    samples: int,
    score_epochs: int,
) -> GANOutcome:
    """Train one arm and measure it by samples; or resume it, or only read what was found already."""
    if arm.stacked:
        pictures = load_pictures(pictures, _SIDE, session, stack=len(pictures.train))
    with one_thread() if arm.recipe.batch_size <= ONE_THREAD else nullcontext():
        trained = train_gan(
            pictures,
            architecture=arm.architecture,
            recipe=arm.recipe,
            conditional=arm.conditional,
            evaluator=evaluator,
            folder=folder,
            session=session,
        )

    def compute() -> Arrays:
        found = _figures(trained.gan, pictures, evaluator, session, folder, count=samples, score_epochs=score_epochs)
        return {name: np.array(value) for name, value in found.items()}

    about = {
        "generator": weights_sha256(trained.gan.generator),
        "evaluator": weights_sha256(evaluator),
        "images": digest(pictures.train.images, pictures.test.images),
        "samples": samples,
        "score_epochs": score_epochs,
    }
    figures = {name: float(value) for name, value in kept(session, about, compute, folder=folder).items()}
    early = trained.history.column("gradient/generator")[1][:1]
    if len(early):
        figures["early-gradient"] = float(early[0])
    return Outcome(arm, session.seed, figures, trained.history, trained)


def _figures(
    gan: GAN, pictures: Pictures, evaluator: Evaluator, session: Session, folder: Path, *, count: int, score_epochs: int
) -> dict[str, float]:
    samples = draw(gan, pictures, count, session)
    figures, _ = measure(gan, pictures, samples, evaluator, session, score_epochs=score_epochs, folder=folder)
    figures["memorised"], _ = novelty(samples, pictures)
    if gan.classes == DIGITS:
        figures |= style_agreement(gan, session) | arithmetic(gan, session)
    return figures


def arithmetic(gan: GAN, session: Session) -> dict[str, float]:
    """Whether a direction in z means the same for every z and class (Radford et al. 2015), measured on slant.

    The direction is the mean z of the digits that lean most minus that of those that lean least, within each class.
    "arithmetic/slant" is how far adding it changes the slant of new digits, in standard deviations of slant, and
    "arithmetic/moved" the share of digits whose slant changes in the right direction.
    """

    labels = balanced(_STYLED, len(gan.classes))
    conditions = gan.conditions(labels, session.rng("arithmetic", "clusters"))

    def leaning(z: Tensor) -> Tensor:
        return slant(generate(gan.generator, z, conditions))

    z, fresh = latents(2 * _STYLED, gan.generator, session.rng("arithmetic")).split(_STYLED)
    found = leaning(z)
    means = torch.stack([found[labels == label].mean() for label in range(len(gan.classes))])
    order = (found - means[labels]).argsort()
    count = round(_TAIL * _STYLED)
    direction = z[order[-count:]].mean(0) - z[order[:count]].mean(0)
    before, after = leaning(fresh), leaning(fresh + direction)
    return {
        "arithmetic/slant": float((after - before).mean() / (found - means[labels]).std()),
        "arithmetic/moved": float((after > before).double().mean()),
    }


def epochs_until(outcome: GANOutcome, distance: float) -> float:
    """Epochs until the watched Frechet distance is first no larger; infinite where it never is."""
    values = outcome.history.column("watched-fid")[1]
    return next((float(row) for row, value in enumerate(values, start=1) if value <= distance), float("inf"))
