"""`train_gan`: both networks, watched from epoch to epoch."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepscope.errors import DeepscopeError
from deepscope.files import lock
from deepscope.gans.architecture import Architecture
from deepscope.gans.clusters import clusters
from deepscope.gans.film import Film
from deepscope.gans.networks import Discriminator, Generator
from deepscope.gans.pictures import Labelled, Pictures
from deepscope.gans.quality import Judge, draw, frechet_distance, variety
from deepscope.gans.recipe import Recipe
from deepscope.gans.sampling import balanced, calibrate, generate, latents
from deepscope.gans.saved import Gan, save
from deepscope.gans.stability import diversity
from deepscope.gans.step import GanBatches, GanStep
from deepscope.registry import plain_value
from deepscope.session import Session, first_process
from deepscope.training import CHECKPOINT, History, fit

_WATCHED = 1000
_ROWS = 8
_MOST_COLUMNS = 10


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained GAN.

    Attributes:
        gan: the generator to use.
        history: losses, scores and gradient norms by step; "diversity" (over the real images') and, with a judge,
            "modes", "fidelity" and "watched-fid" after each epoch.
    """

    gan: Gan
    history: History


def train_gan(
    pictures: Pictures,
    *,
    architecture: Architecture,
    recipe: Recipe,
    conditional: bool,
    session: Session,
    folder: Path | None = None,
    judge: Judge | None = None,
    tensorboard: bool = False,
) -> Trained:
    """Train a GAN; a killed training that is started again goes on, and ends with the same weights.

    After each epoch the generator and a sheet of images from fixed z are written to the folder.

    Args:
        pictures: to learn from.
        architecture: of the networks.
        recipe: how to train.
        conditional: give both networks the pictures' classes.
        session: device, precision ("bfloat16" is mixed precision) and seed.
        folder: for checkpoint, history, sheets and generator; None keeps nothing.
        judge: recognises classes along the training; nothing is decided by it.
        tensorboard: also write TensorBoard's events.

    Raises:
        DeepscopeError: settings that do not fit together, too few images, missing classes, or a folder that
            holds a training of another kind.
    """
    architecture.require_buildable(conditional=conditional)
    recipe.require_trainable(architecture)
    _check(pictures, recipe, conditional=conditional)
    if folder and folder.is_dir() and not (folder / CHECKPOINT).exists() and first_process():
        with lock(folder):
            Film(folder / "sheets").clear()  # those of an earlier training
    data, names, shares = pictures.train, pictures.classes if conditional else (), ()
    if architecture.clusters:
        data = Labelled(data.images, clusters(data.images, architecture.clusters, session))
        counts = torch.bincount(data.labels, minlength=architecture.clusters)
        names = tuple(f"cluster-{number}" for number in range(len(counts)))
        shares = tuple((counts / len(data)).tolist())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.rng("networks").initial_seed())
        generator = Generator(architecture, pictures.channels, len(names))
        discriminator = Discriminator(architecture, pictures.channels, len(names))
    step = GanStep(generator, discriminator, recipe)
    batches = GanBatches(data, recipe.batch_size, recipe.discriminator_steps, session)
    z, labels, columns = _fixed(generator, session)

    def varied(part: Labelled) -> float:
        return diversity(part.images, part.labels if conditional else torch.zeros_like(part.labels))

    spread = varied(pictures.train.some(_WATCHED, session.rng("diversity")))

    def result() -> Gan:
        made = copy.deepcopy(step.average if recipe.average else step.generator)
        calibrate(made, session.rng("calibration"), shares)
        return Gan(
            made,
            architecture,
            channels=pictures.channels,
            classes=names,
            data=pictures.name,
            stacked=pictures.stacked,
            held_out=pictures.held_out,
            shares=shares,
        )

    def observe(done: int) -> Mapping[str, float]:
        gan = result()
        samples = draw(gan, pictures, _WATCHED, session, stream="watched")
        if folder and first_process():
            _keep(folder, done, gan, generate(gan.generator, z, labels), columns, session)
        return {
            "diversity": varied(samples) / spread,
            **(_seen(judge, samples, pictures, conditional=conditional) if judge else {}),
        }

    settings = {
        **asdict(architecture),
        **{name: plain_value(value) for name, value in vars(recipe).items() if name != "epochs"},
        "channels": pictures.channels,
        "classes": len(names),
        "data": pictures.name,
        "images": len(pictures.train),
    }
    history = fit(
        step,
        batches,
        steps=recipe.epochs * batches.steps,
        session=session,
        folder=folder,
        settings=json.loads(json.dumps(settings)),
        every=batches.steps,
        record=min(20, batches.steps),
        observe=observe,
        tensorboard=tensorboard,
    )
    return Trained(result(), history)


def _check(pictures: Pictures, recipe: Recipe, *, conditional: bool) -> None:
    found = len(pictures.train)
    turns = max(recipe.discriminator_steps, 1)
    if found < recipe.batch_size * turns:
        per_step = f"{turns} batches of {recipe.batch_size}" if turns > 1 else f"a batch of {recipe.batch_size}"
        raise DeepscopeError(
            f"{pictures.name} has {found} training images, fewer than {per_step} that a step needs: "
            f"give more images, or --batch-size {max(found // turns, 2)}"
        )
    present = int(pictures.train.labels.unique().numel()) if pictures.classes else 0
    if conditional and present < 2:
        has = f"only the class {pictures.classes[int(pictures.train.labels[0])]}" if present else "no classes"
        raise DeepscopeError(
            f"{pictures.name} has {has}: --conditional needs a folder of images for each of two or more"
        )


def _fixed(generator: Generator, session: Session) -> tuple[Tensor, Tensor, int]:
    """z and labels of the sheets: with a few classes, a column for each, and each row from one z."""
    classes = generator.classes
    columns = classes if 1 < classes <= _MOST_COLUMNS else _ROWS
    rng = session.rng("sheet")
    if columns == classes:
        z = latents(_ROWS, generator, rng).repeat_interleave(columns, dim=0)
    else:
        z = latents(_ROWS * columns, generator, rng)
    return z, balanced(len(z), classes), columns


def _keep(folder: Path, done: int, gan: Gan, images: Tensor, columns: int, session: Session) -> None:
    """A disk that is full for a while ends no training."""
    try:
        Film(folder / "sheets").add(done, images, columns=columns)
        save(folder, gan)
    except OSError as error:
        session.note(f"the generator of this epoch cannot be written, the last one is kept ({error})")


def _seen(judge: Judge, samples: Labelled, pictures: Pictures, *, conditional: bool) -> dict[str, float]:
    """What the judge sees; a Frechet distance of so few images is too high, and compares epochs alone."""
    figures = variety(judge, samples, pictures, conditional=conditional)
    if judge.channels == pictures.channels:
        real = judge.features(pictures.test.images[:_WATCHED])
        figures["watched-fid"] = frechet_distance(real, judge.features(samples.images))
    return figures
