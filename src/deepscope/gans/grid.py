"""`class_grid`: every class from the same z, and how far z determines the style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepscope.errors import SettingError, UnsupportedError
from deepscope.gans.pictures import DIGITS
from deepscope.gans.sampling import latents
from deepscope.gans.saved import GAN, opened
from deepscope.gans.style import agreement, slant, thickness
from deepscope.render import Presented
from deepscope.session import Session

STYLED = 200
"""Different z over which styles are compared."""


@dataclass(frozen=True, eq=False)
class ClassGrid(Presented):
    """Every class of a generator, from the same z.

    Attributes:
        gan: the generator.
        images: (K, N, C, H, W) uint8: K classes, and N different z that all classes share.
        styles: for grey digits, "style/slant" and "style/thickness": their intraclass correlations over `STYLED` z.
    """

    gan: GAN
    images: Tensor
    styles: Mapping[str, float]

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per image: its class, and the number of its z."""
        classes, count = self.images.shape[:2]
        return {
            "class": [name for name in self.gan.classes for _ in range(count)],
            "z": [*range(count)] * classes,
        }


def class_grid(gan: GAN | str | Path, *, columns: int = 10, seed: int = 0, session: Session | None = None) -> ClassGrid:
    """Make every class of a conditional generator from the same z.

    Args:
        gan: a generator, or the folder of one.
        columns: number of different z.
        seed: of z.
        session: device; its own seed counts where it is given.

    Raises:
        SettingError: there are fewer than one column.
        UnsupportedError: the generator was trained without classes.
        FileError: the folder holds no generator, or a damaged one.

    Example:
        >>> from deepscope.gans import Architecture, Recipe, class_grid, load_pictures, train_gan
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session(), hold_out=2400)
        >>> small, short = Architecture(width=2, latent=4), Recipe(epochs=1, batch_size=1000)
        >>> trained = train_gan(digits, architecture=small, recipe=short, conditional=True)
        >>> class_grid(trained.gan, columns=3).images.shape
        torch.Size([10, 3, 1, 32, 32])
    """
    if columns < 1:
        raise SettingError("columns", "must be at least 1", got=columns)
    session = Session.of(session, seed=seed)
    gan = opened(gan, session)
    if not gan.classes:
        text = f"{gan.name} was trained without classes: a grid needs a conditional generator"
        raise UnsupportedError(text, what="class_grid")
    images = shared(gan, columns, session)
    return ClassGrid(gan, images, style_agreement(gan, session) if gan.classes == DIGITS and gan.channels == 1 else {})


def shared(gan: GAN, columns: int, session: Session) -> Tensor:
    """(classes, columns, C, H, W) uint8 images; a column shares its z. Clusters of classes are drawn."""
    classes = len(gan.classes)
    z = latents(columns, gan.generator, session.rng("grid")).repeat(classes, 1)
    labels = torch.arange(classes).repeat_interleave(columns)
    return gan.images(z, labels, session.rng("grid", "clusters")).unflatten(0, (classes, columns))


def style_agreement(gan: GAN, session: Session) -> dict[str, float]:
    """Intraclass correlations of slant and thickness, of grey digits, over columns that share their z."""
    images = shared(gan, STYLED, session)
    found = {}
    for measure in (slant, thickness):
        values = measure(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        found[f"style/{measure.__name__}"] = agreement(values.T.numpy())
    return found
