"""`sample` and `interpolate`: images from a trained generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepscope.errors import SettingError
from deepscope.gans.sampling import balanced, drawn, generate, great_circle, latents
from deepscope.gans.saved import GAN, opened
from deepscope.render import Presented
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class Samples(Presented):
    """Images from a generator.

    Attributes:
        gan: the generator.
        images: (N, C, H, W) uint8.
        labels: (N,) their classes; zeros where the generator has none.
        label: the class that was asked for; empty where none was named.
    """

    gan: GAN
    images: Tensor
    labels: Tensor
    label: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image: its number and class."""
        names = [self.gan.classes[label] for label in self.labels.tolist()] if self.gan.classes else [None] * len(self)
        return {"image": list(range(len(self))), "class": names}


def sample(
    gan: GAN | str | Path,
    count: int = 50,
    *,
    label: str | None = None,
    truncation: float = 1.0,
    seed: int = 0,
    session: Session | None = None,
) -> Samples:
    """Generate images with a trained generator.

    Args:
        gan: a generator, or the folder of one.
        count: images.
        label: the class or cluster of all images; where none is named, classes in turn, and clusters as often as among
            the training images.
        truncation: factor on z: values below 1 give more typical, less varied images.
        seed: of z.
        session: device; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or a label is asked of a generator without classes.
        FileError: the folder holds no generator, or a damaged one.
        UnknownNameError: the generator knows no class of that name.

    Example:
        >>> from deepscope.gans import Architecture, Recipe, load_pictures, sample, train_gan
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session(), hold_out=2400)
        >>> small = Architecture(width=2, latent=4)
        >>> trained = train_gan(digits, architecture=small, recipe=Recipe(epochs=1, batch_size=1000))
        >>> sample(trained.gan, 3).images.shape
        torch.Size([3, 1, 32, 32])
    """
    if count < 1:
        raise SettingError("count", "must be at least 1", got=count)
    if not truncation > 0:
        raise SettingError("truncation", "must be above 0", got=truncation)
    session = Session.of(session, seed=seed)
    gan = opened(gan, session)
    z, labels = requested(gan, count, label, session, "sample")
    images = gan.images(truncation * z, labels, session.rng("sample", "clusters"))
    return Samples(gan, images, labels, label or "")


def requested(gan: GAN, count: int, label: str | None, session: Session, stream: str) -> tuple[Tensor, Tensor]:
    """z (count, latent) and classes (count,) of images to make.

    Args:
        gan: the generator.
        count: images.
        label: the class or cluster of all images; where none is named, classes in turn, and clusters as often as among
            the training images.
        session: its seed draws both.
        stream: names the random numbers of z.

    Raises:
        SettingError: a label is asked of a generator without classes.
        UnknownNameError: the generator knows no class of that name.
    """
    if label is not None:
        labels = torch.full((count,), gan.label(label))
    elif gan.labelled or not gan.classes:
        labels = balanced(count, len(gan.classes))
    else:
        labels = drawn(count, gan.shares, session.rng("labels"))
    return latents(count, gan.generator, session.rng(stream)), labels


@dataclass(frozen=True, eq=False)
class Interpolation(Presented):
    """Images along paths between random points of the latent space.

    Attributes:
        gan: the generator.
        images: (P, T, C, H, W) uint8: T images along each of P paths, with both ends.
        z: (P, T, latent).
    """

    gan: GAN
    images: Tensor
    z: Tensor

    @property
    def jumps(self) -> Tensor:
        """(P, T - 1) root mean square differences of consecutive images, pixels in [0, 1]."""
        return (self.images.float() / 255).diff(dim=1).square().mean((2, 3, 4)).sqrt()

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image: its path, its step, and how much it differs from the image before."""
        paths, steps = self.images.shape[:2]
        jumps = [[None, *row] for row in self.jumps.tolist()]
        return {
            "path": [path for path in range(paths) for _ in range(steps)],
            "step": [*range(steps)] * paths,
            "difference": [value for row in jumps for value in row],
        }


def interpolate(
    gan: GAN | str | Path,
    *,
    label: str | None = None,
    ways: int = 4,
    steps: int = 30,
    seed: int = 0,
    session: Session | None = None,
) -> Interpolation:
    """Make images along the great circle from one random z to another.

    Args:
        gan: a generator, or the folder of one.
        label: the class of all images, of a conditional generator; its first where none is named.
        ways: pairs of z.
        steps: images on each path, with its ends.
        seed: of z.
        session: device; its own seed counts where it is given.

    Raises:
        SettingError, FileError, UnknownNameError: as `sample`.

    Example:
        >>> from deepscope.gans import Architecture, Recipe, interpolate, load_pictures, train_gan
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session(), hold_out=2400)
        >>> small = Architecture(width=2, latent=4)
        >>> trained = train_gan(digits, architecture=small, recipe=Recipe(epochs=1, batch_size=1000))
        >>> interpolate(trained.gan, ways=2, steps=5).images.shape
        torch.Size([2, 5, 1, 32, 32])
    """
    if ways < 1:
        raise SettingError("ways", "must be at least 1", got=ways)
    if steps < 2:
        raise SettingError("steps", "must be at least 2", got=steps)
    session = Session.of(session, seed=seed)
    gan = opened(gan, session)
    number = torch.full((ways,), 0 if label is None else gan.label(label))
    along = gan.conditions(number, session.rng("interpolate", "clusters")).repeat_interleave(steps)  # one for each path
    ends = latents(2 * ways, gan.generator, session.rng("interpolate")).unflatten(0, (ways, 2))
    z = torch.stack([great_circle(start, end, steps) for start, end in ends])
    images = generate(gan.generator, z.flatten(0, 1), along)
    return Interpolation(gan, images.unflatten(0, (ways, steps)), z)
