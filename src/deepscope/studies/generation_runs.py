"""What the study of generation trains, and what it keeps of each training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deepscope.files import atomic
from deepscope.gans import (
    DIGITS,
    Architecture,
    Gan,
    Hinge,
    LeastSquares,
    Pictures,
    Recipe,
    Saturating,
    WassersteinGP,
    balanced,
    diagnose,
    generate,
    latents,
    stacked,
    train_gan,
)
from deepscope.gans.quality import Judge, draw, novelty
from deepscope.gans.style import slant
from deepscope.jobs.gan_evaluate import measure
from deepscope.jobs.gan_grid import style_agreement
from deepscope.session import Session
from deepscope.training import History

_STACKED_SAMPLES = 26_000
_STYLED, _TAIL = 2000, 0.1
_CLUSTERS = 50


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
        gan: the generator.
        history: along the training.
        figures: as `gan evaluate` names them, and "early-gradient", "style/..." and "arithmetic/...".
        trouble: in plain words; empty where all went well.
    """

    arm: Arm
    gan: Gan
    history: History
    figures: Mapping[str, float]
    trouble: tuple[str, ...]


def arms(architecture: Architecture, recipe: Recipe, *, thorough: bool) -> list[Arm]:
    """What the questions need; where `thorough`, also every experiment that the source suggests, and stacked digits."""
    base = Arm("unconditional", architecture, recipe)

    def trained(name: str, **changes: object) -> Arm:
        return replace(base, name=name, recipe=replace(recipe, **changes))  # type: ignore[arg-type]

    def built(name: str, **changes: object) -> Arm:
        return replace(base, name=name, architecture=replace(architecture, **changes))  # type: ignore[arg-type]

    conditional = replace(base, name="conditional", conditional=True)
    found = [
        base,
        conditional,
        replace(built("y-absent-from-d", label_in_discriminator="absent"), conditional=True),
        trained("saturating", objective=Saturating()),
        trained("only-4.2", discriminator_steps=0),
        trained("only-4.3", generator_steps=0),
    ]
    if not thorough:
        return found
    layered = replace(architecture, normalisation="layer")
    wide = replace(layered, packing=2)
    return [
        *found,
        replace(built("y-projected", label_in_discriminator="projected"), conditional=True),
        built("clusters", clusters=_CLUSTERS, label_in_discriminator="projected"),
        *(trained(f"rate-x{factor:g}", rate=factor * recipe.rate) for factor in (10, 0.1)),
        *(built(f"width-x{factor:g}", width=round(factor * architecture.width)) for factor in (0.5, 2)),
        trained("steps-5:1", discriminator_steps=5),
        trained("steps-1:5", generator_steps=5),
        trained("least-squares", objective=LeastSquares()),
        trained("hinge", objective=Hinge()),
        replace(trained("wgan-gp", objective=WassersteinGP(), discriminator_steps=5), architecture=layered),
        replace(trained("r1", r1=1.0), architecture=layered),
        *(built(f"z-{size}", latent=size) for size in (2, 10, 100, 1000)),
        replace(base, name="stacked", stacked=True),
        replace(trained("stacked-packed", r1=1.0), architecture=wide, stacked=True),
    ]


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
    trained = train_gan(
        pictures,
        architecture=arm.architecture,
        recipe=arm.recipe,
        conditional=arm.conditional,
        session=session,
        folder=folder,
        judge=judge,
    )
    path = folder / f"quality-{samples}.json"
    if not path.is_file():
        samples = _STACKED_SAMPLES if arm.stacked else samples
        found = _figures(trained.gan, pictures, judge, session, folder, count=samples, score_epochs=score_epochs)
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    figures = json.loads(path.read_text(encoding="utf-8"))
    early = trained.history.column("gradient/generator")[1][:1]
    if len(early):
        figures["early-gradient"] = float(early[0])
    return Outcome(arm, trained.gan, trained.history, figures, diagnose(trained.history))


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
