"""`train_gan`: both networks, with what is recorded after each epoch."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.devices import first_process
from deepscope.errors import DataError, SettingError
from deepscope.files import lock
from deepscope.gans.architecture import Architecture
from deepscope.gans.augmentation import Augmentation, chosen
from deepscope.gans.clusters import clusters, clusters_of_classes
from deepscope.gans.networks import UNSHIFTED, Discriminator, Generator
from deepscope.gans.pictures import Labelled, Pictures, load_pictures
from deepscope.gans.quality import Evaluator, fitting_evaluator
from deepscope.gans.recipe import Recipe
from deepscope.gans.sampling import balanced, calibrate, conditions, generate, latents
from deepscope.gans.saved import GAN, save
from deepscope.gans.sheets import NO_SHEETS, Sheets, sheet
from deepscope.gans.step import GANBatches, GANStep
from deepscope.gans.watching import watching
from deepscope.inputs import Images
from deepscope.kept import digest
from deepscope.names import counted
from deepscope.render import Presented
from deepscope.session import Session
from deepscope.training import CHECKPOINT, History, Log, fit

_OBSERVED = 60
"""Times that a long training is observed: its epochs are short where images are few."""
_ROWS = 8
_SMALLEST_BATCH = 2
_MOST_COLUMNS = 10


@dataclass(frozen=True, eq=False)
class TrainedGAN(Presented):
    """A trained GAN, and the course of its training.

    Attributes:
        gan: the generator to use.
        history: losses, scores and gradient norms by step; "diversity" (relative to the real images') and, with an
            evaluator, "modes", "fidelity" and "watched-fid" after each epoch.
        data: name of the training data.
        images: number of training images.
        remarks: how the images were changed.
        sheets: (T, H, W, 3) uint8 samples of fixed z: after each epoch where a folder keeps them, else of the end.
        sheet_steps: the step of each sheet.
        folder: that the training is kept in.
        augment: how the discriminator's images were augmented: "none", "diffaugment" or "ada".
    """

    gan: GAN
    history: History
    data: str
    images: int
    remarks: tuple[str, ...]
    sheets: NDArray[np.uint8] = field(repr=False)
    sheet_steps: tuple[int, ...]
    folder: Path | None = None
    augment: str = "none"

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per recorded step; None where a figure was not recorded."""
        rows = self.history.rows
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}


def train_gan(  # noqa: PLR0913 - its settings are keywords
    data: Images | Pictures,
    *,
    architecture: Architecture | None = None,
    recipe: Recipe | None = None,
    conditional: bool = False,
    evaluator: Evaluator | str | Path | None = None,
    folder: Path | None = None,
    tensorboard: bool = False,
    seed: int = 0,
    session: Session | None = None,
) -> TrainedGAN:
    """Train a DCGAN. A killed training that is started again resumes, and ends with the same weights.

    After each epoch, or 60 times in a longer training, the generator and a sheet of samples are written to the folder.

    Args:
        data: name of a dataset, a folder, images or (image, label) pairs in any form, or `load_pictures(...)`.
        architecture: of the networks.
        recipe: how to train.
        conditional: condition both networks on the classes; with clusters, on those of each class.
        evaluator: recognises classes after each epoch, for the record only. None for the one in the package, where
            it knows these images.
        folder: for checkpoint, history, sheets and generator; None keeps nothing.
        tensorboard: also write TensorBoard's events.
        seed: of weights, z and the order of images.
        session: device, precision ("bfloat16" is mixed precision), progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or two cannot be combined.
        DataError: there are too few images, or no classes.
        FileError: the folder holds a training with other settings.
        Diverged: the losses are no longer finite.

    Example:
        >>> from deepscope.gans import Architecture, Recipe, load_pictures, train_gan
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session(), hold_out=2400)
        >>> small = Architecture(width=2, latent=4)
        >>> found = train_gan(digits, architecture=small, recipe=Recipe(epochs=1, batch_size=1000))
        >>> found.gan.channels
        1
    """
    architecture, recipe = architecture or Architecture(), recipe or Recipe()
    architecture.require_buildable(conditional=conditional)
    recipe.require_trainable(architecture)
    session = Session.of(session, seed=seed)
    pictures = load_pictures(data, architecture.side, session)
    expert = fitting_evaluator(evaluator, pictures)
    _check(pictures, recipe, conditional=conditional)
    recipe = replace(recipe, augment=chosen(recipe.augment, len(pictures)))
    if folder and folder.is_dir() and not (folder / CHECKPOINT).exists() and first_process():
        with lock(folder):
            Sheets(folder / "sheets").clear()  # those of an earlier training
    plan = _plan(pictures, architecture, conditional, session)
    step = _networks(plan, architecture, pictures.channels, recipe, session)
    batches = GANBatches(plan.data, recipe.batch_size, recipe.discriminator_steps, session)
    z, labels, columns = _fixed(plan, step.generator, session)

    def result() -> GAN:
        made = copy.deepcopy(step.average if recipe.average else step.generator)
        calibrate(made, session.rng("calibration"), plan.shares)
        return GAN(
            made,
            architecture,
            channels=pictures.channels,
            classes=plan.names,
            data=pictures.name,
            stacked=pictures.stacked,
            held_out=pictures.held_out,
            learnt=len(pictures.train),
            listing=pictures.listing,
            stack_seed=pictures.stack_seed if pictures.stacked else None,
            shares=plan.shares,
        )

    measure = watching(pictures, expert.to(session.device) if expert else None, conditional, session)

    def observe(done: int) -> Mapping[str, float]:
        gan = result()
        figures = measure(gan)
        if folder and first_process():
            _keep(folder, done, gan, generate(gan.generator, z, labels), columns, session)
        return figures

    settings = {
        **asdict(architecture),
        **recipe.recorded(),
        "channels": pictures.channels,
        "classes": plan.conditions,
        "data": pictures.name,
        "images": len(pictures.train),
        "sha256 of the images": digest(pictures.train.images, pictures.train.labels)[:12],
    }
    if architecture.normalisation in UNSHIFTED:  # checkpoints of discriminators without a bias say nothing of it
        settings["bias"] = True
    steps = recipe.epochs * batches.steps
    history = fit(
        step,
        batches,
        steps=steps,
        session=session,
        observe=observe,
        log=Log(
            folder=folder,
            settings=json.loads(json.dumps(settings)),
            every=batches.steps * -(-recipe.epochs // _OBSERVED),
            record=min(20, batches.steps),
            tensorboard=tensorboard,
        ),
    )
    gan = result()
    sheets, sheet_steps = Sheets(folder / "sheets").frames() if folder else NO_SHEETS
    if not sheet_steps:
        sheets, sheet_steps = sheet(generate(gan.generator, z, labels), columns=columns)[None], (steps,)
    return TrainedGAN(
        gan,
        history,
        pictures.name,
        len(pictures),
        pictures.remarks,
        sheets,
        sheet_steps,
        folder,
        recipe.augment,
    )


@dataclass(frozen=True, eq=False)
class _Plan:
    """What the networks learn from.

    Attributes:
        data: images and the labels that condition the networks.
        names: of the classes that can be requested, the data's own or clusters; empty without them.
        shares: of the images in each cluster; empty without clusters.
    """

    data: Labelled
    names: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def conditions(self) -> int:
        """What the networks tell apart; 0 without labels."""
        return len(self.shares) or len(self.names)


def _plan(pictures: Pictures, architecture: Architecture, conditional: bool, session: Session) -> _Plan:
    if not architecture.clusters:
        return _Plan(pictures.train, pictures.classes if conditional else (), ())
    count, train = architecture.clusters, pictures.train
    if conditional:
        names = pictures.classes
        labels, groups = clusters_of_classes(train, names, count, session), count * len(names)
    else:
        names = tuple(f"cluster-{number}" for number in range(count))
        labels, groups = clusters(train.images, count, session), count
    shares = torch.bincount(labels, minlength=groups) / len(labels)
    return _Plan(Labelled(train.images, labels), names, tuple(shares.tolist()))


def _networks(plan: _Plan, architecture: Architecture, channels: int, recipe: Recipe, session: Session) -> GANStep:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(session.rng("networks").initial_seed())
        generator = Generator(architecture, channels, plan.conditions)
        discriminator = Discriminator(architecture, channels, plan.conditions)
    return GANStep(generator, discriminator, recipe, Augmentation.of(recipe.augment, cutout=recipe.cutout))


def _check(pictures: Pictures, recipe: Recipe, *, conditional: bool) -> None:
    found = len(pictures.train)
    updates = max(recipe.discriminator_steps, 1)
    if found < _SMALLEST_BATCH * updates:
        raise DataError(
            f"{pictures.name} has {counted(found, 'training image')}, and a step needs at least "
            f"{_SMALLEST_BATCH * updates}",
            data=pictures.name,
        )
    if found < recipe.batch_size * updates:
        batches = f"{updates} batches" if updates > 1 else "one batch"
        raise SettingError(
            "batch_size",
            f"must be at most {found // updates}: {pictures.name} has {found} training images, and a step "
            f"needs {batches}",
            got=recipe.batch_size,
        )
    present = int(pictures.train.labels.unique().numel()) if pictures.classes else 0
    if conditional and present < 2:
        has = f"only the class {pictures.classes[int(pictures.train.labels[0])]}" if present else "no classes"
        raise DataError(
            f"{pictures.name} has {has}: a conditional GAN needs one folder of images per class, at least two",
            data=pictures.name,
        )


def _fixed(plan: _Plan, generator: Generator, session: Session) -> tuple[Tensor, Tensor, int]:
    """z and conditions of the sheets: with a few classes, a column for each, and each row from one z."""
    classes = len(plan.names)
    columns = classes if 1 < classes <= _MOST_COLUMNS else _ROWS
    rng = session.rng("sheet")
    if columns == classes:
        z = latents(_ROWS, generator, rng).repeat_interleave(columns, dim=0)
    else:
        z = latents(_ROWS * columns, generator, rng)
    return z, conditions(balanced(len(z), classes), classes, plan.shares, session.rng("sheet", "clusters")), columns


def _keep(folder: Path, done: int, gan: GAN, images: Tensor, columns: int, session: Session) -> None:
    """Write the generator; a full disk does not end the training."""
    try:
        Sheets(folder / "sheets").add(done, images, columns=columns)
        save(folder, gan)
    except OSError as error:
        session.note(f"the generator of this epoch cannot be written; the last one is kept ({error})")
