"""What the studies of generation train, and what they keep of each training."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope.commands.gan_evaluate import measure
from deepscope.commands.gan_grid import style_agreement
from deepscope.data import first_here
from deepscope.errors import DeepscopeError
from deepscope.gans import (
    DIGITS,
    Architecture,
    Gan,
    Pictures,
    Recipe,
    balanced,
    diagnose,
    generate,
    latents,
    load_pictures,
    stacked,
    train_gan,
)
from deepscope.gans.quality import Judge, draw, fitting_judge, novelty, train_judge
from deepscope.gans.style import slant
from deepscope.kept import Cache, workspace
from deepscope.models.vision_model import weights_sha256
from deepscope.session import Session
from deepscope.statistics import Estimate, over_seeds
from deepscope.training import CHECKPOINT, Diverged, History

_SIDE, _JUDGE_EPOCHS = 32, 6
_STYLED, _TAIL = 2000, 0.1


@dataclass(frozen=True)
class Arm:
    """One thing to train.

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


@dataclass(frozen=True, eq=False)
class Outcome:
    """An arm, trained from one seed and measured.

    Attributes:
        arm: what was trained.
        seed: of the training.
        gan: the generator.
        history: along the training.
        figures: as `gan evaluate` names them, and "early-gradient", "style/..." and "arithmetic/...".
        trouble: in plain words; empty where all went well.
    """

    arm: Arm
    seed: int
    gan: Gan
    history: History
    figures: Mapping[str, float]
    trouble: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Trained:
    """Every arm from every seed.

    Attributes:
        outcomes: by the arm's name, one a seed.
        diverged: what did not come to an end, in words.
        data: what was trained on, in words.
    """

    outcomes: Mapping[str, list[Outcome]]
    diverged: tuple[str, ...]
    data: str

    def mean(self, arm: str, figure: str) -> Estimate:
        """A figure of an arm over its seeds, with Student's interval."""
        values = [run.figures[figure] for run in self.outcomes[arm] if figure in run.figures]
        if math.inf in values:  # an infinite divergence has no spread
            return Estimate(math.inf, -math.inf, math.inf)
        return over_seeds(values)

    def gap(self, arm: str, other: str, figure: str) -> Estimate:
        """How far a figure of an arm lies above another arm's, seed by seed, with Student's interval."""
        theirs = {run.seed: run.figures[figure] for run in self.outcomes[other]}
        return over_seeds([run.figures[figure] - theirs[run.seed] for run in self.outcomes[arm] if run.seed in theirs])


def train_all(
    arms: Sequence[Arm],
    session: Session,
    study: str,
    *,
    seeds: int,
    images: int | None,
    samples: int,
    judge: Path | None,
    needed: Collection[str],
    scored: Collection[str] = (),
) -> Trained:
    """Train every arm from the session's seed and the next ones, on MNIST or the extract in the package.

    Args:
        arms: what to train.
        session: where trainings are kept, and how they are computed.
        study: names the folder that they are kept in.
        seeds: trainings of each arm.
        images: training digits; None takes all.
        samples: by which each arm is measured.
        judge: folder of `gan judge`; else the one in the package, else one is trained first.
        needed: names of the arms that must not diverge.
        scored: names of the arms that are also measured by a classifier trained on their samples.

    Raises:
        DeepscopeError: there are fewer than one seed, 30 samples or 1000 images.
        Diverged: a needed arm did.
    """
    if seeds < 1 or samples < 30 or (images is not None and images < 1000):
        raise DeepscopeError("--seeds is at least 1, --samples 30, --images 1000")
    name = first_here(["mnist", "mnist-extract"], session)
    pictures = load_pictures(name, _SIDE, session)
    root = (session.out or workspace(session)) / study
    expert = fitting_judge(judge, pictures.channels, pictures.classes)
    if expert is None:  # trained from a seed of its own: never one of the generators'
        own = replace(session, seed=session.seed + 1000)
        expert = train_judge(pictures.train, pictures.classes, epochs=_JUDGE_EPOCHS, session=own, folder=root / "judge")
    expert = expert.to(session.device)
    if images is not None:
        pictures = replace(pictures, train=pictures.train.some(images, session.rng("images")))
    outcomes: dict[str, list[Outcome]] = {}
    diverged = []
    planned = [(arm, session.seed + seed) for seed in range(seeds) for arm in arms]
    for arm, seed in session.track(planned, "training"):
        kind = f"{images or name}-{arm.recipe.epochs}-{arm.architecture.width}-{arm.recipe.rate:g}"
        folder = root / kind / arm.name.replace(":", "-") / f"seed-{seed}"
        epochs = _JUDGE_EPOCHS if arm.name in scored else 0
        try:
            own = replace(session, seed=seed, quiet=True)
            outcome = train(arm, pictures, expert, own, folder, samples=samples, score_epochs=epochs)
        except Diverged as error:
            if arm.name in needed:
                raise
            diverged.append(f"{arm.name}, seed {seed}: {error}")
        else:
            outcomes.setdefault(arm.name, []).append(outcome)
    return Trained(outcomes, tuple(diverged), f"{len(pictures.train)} images of {name}")


def train(
    arm: Arm,
    pictures: Pictures,
    judge: Judge,
    session: Session,
    folder: Path,
    *,
    samples: int,
    score_epochs: int,
) -> Outcome:
    """Train one arm and measure it by so many samples, or go on with it, or only read what was found already."""
    if arm.stacked:
        pictures = stacked(pictures, len(pictures.train), session)
    if not (folder / CHECKPOINT).exists():  # a new training: what was measured of an earlier one goes
        for stale in folder.glob("quality-*"):
            stale.unlink(missing_ok=True)
    trained = train_gan(
        pictures,
        architecture=arm.architecture,
        recipe=arm.recipe,
        conditional=arm.conditional,
        session=session,
        folder=folder,
        judge=judge,
    )
    weights = weights_sha256(trained.gan.generator)[:16]  # a measurement is of this training alone
    measured, name = Cache(session, folder), f"quality-{samples}-{score_epochs}-{weights}.kept"
    if (found := measured.read(name)) is None:
        fresh = _figures(trained.gan, pictures, judge, session, folder, count=samples, score_epochs=score_epochs)
        measured.write(name, found := json.dumps(fresh).encode())
    figures = json.loads(found)
    early = trained.history.column("gradient/generator")[1][:1]
    if len(early):
        figures["early-gradient"] = float(early[0])
    return Outcome(arm, session.seed, trained.gan, trained.history, figures, diagnose(trained.history))


def _figures(
    gan: Gan, pictures: Pictures, judge: Judge, session: Session, folder: Path, *, count: int, score_epochs: int
) -> dict[str, float]:
    samples = draw(gan, pictures, count, session)
    figures, _ = measure(gan, pictures, samples, judge, session, score_epochs=score_epochs, folder=folder)
    figures["memorised"], _ = novelty(samples, pictures)
    if gan.classes == DIGITS:
        figures |= style_agreement(gan, session) | arithmetic(gan, session)
    return figures


def arithmetic(gan: Gan, session: Session) -> dict[str, float]:
    """Whether a direction in z means the same for every z and class (Radford et al. 2015), measured on slant.

    The direction is the mean z of the digits that lean most less that of those that lean least, each against its class.
    "arithmetic/slant" is how far adding it moves the slant of new digits, in standard deviations of slant, and
    "arithmetic/moved" the share of them that move to the right side.
    """

    def leaning(z: Tensor, labels: Tensor) -> Tensor:
        return slant(generate(gan.generator, z, labels))

    labels = balanced(_STYLED, len(gan.classes))
    z, fresh = latents(2 * _STYLED, gan.generator, session.rng("arithmetic")).split(_STYLED)
    found = leaning(z, labels)
    means = torch.stack([found[labels == label].mean() for label in range(len(gan.classes))])
    order = (found - means[labels]).argsort()
    count = round(_TAIL * _STYLED)
    direction = z[order[-count:]].mean(0) - z[order[:count]].mean(0)
    before, after = leaning(fresh, labels), leaning(fresh + direction, labels)
    return {
        "arithmetic/slant": float((after - before).mean() / (found - means[labels]).std()),
        "arithmetic/moved": float((after > before).double().mean()),
    }


def epochs_until(outcome: Outcome, distance: float) -> float:
    """Epochs until the watched Frechet distance is first no larger; infinite where it never is."""
    values = outcome.history.column("watched-fid")[1]
    return next((float(row) for row, value in enumerate(values, start=1) if value <= distance), float("inf"))
