"""`latent_directions`: images along directions of z, and a page of sliders that move z."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepscope.errors import SettingError
from deepscope.gans.directions import Method, find_directions
from deepscope.gans.sampling import generate
from deepscope.gans.saved import GAN
from deepscope.gans.sheets import sheet
from deepscope.render import Presented, sliders
from deepscope.session import Session


@dataclass(frozen=True, eq=False)
class LatentDirections(Presented):
    """Directions of the latent space, strongest first, and images along them.

    Attributes:
        gan: the generator.
        method: that found the directions.
        vectors: (K, latent), of length 1 and orthogonal to each other for "sefa".
        shares: (K,) of what all directions together do to the first layer: of the weights' squared norm for "sefa",
            of the outputs' variance for "pca".
        z: (N, latent) where the images start.
        labels: (N,) their classes; zeros where the generator has none.
        at: (K,) how far z was moved along each direction beforehand, in standard deviations of z.
        offsets: (T,) added to z along a direction, in standard deviations of z; the middle one is 0.
        images: (K, N, T, C, H, W) uint8.
    """

    gan: GAN
    method: Method
    vectors: Tensor
    shares: Tensor
    z: Tensor
    labels: Tensor
    at: Tensor
    offsets: Tensor
    images: Tensor

    @property
    def changes(self) -> Tensor:
        """(K, T) root mean square differences to the images at z, pixels in [0, 1]."""
        pixels = self.images.float() / 255
        middle = pixels[:, :, len(self.offsets) // 2, None]
        return (pixels - middle).square().mean((1, 3, 4, 5)).sqrt()

    def columns(self) -> Mapping[str, Sequence[Any]]:
        """One row per direction and offset: how much it changes the images."""
        count, steps = self.changes.shape
        return {
            "direction": [number for number in range(1, count + 1) for _ in range(steps)],
            "share": [share for share in self.shares.tolist() for _ in range(steps)],
            "offset": self.offsets.tolist() * count,
            "change": self.changes.flatten().tolist(),
        }

    def page(self) -> str:
        """A self-contained HTML page with a slider for each direction. It asks for nothing."""
        found = [
            sliders.Slider(
                name,
                said,
                places(at + self.offsets),
                tuple(square(images[:, step]) for step in range(len(self.offsets))),
            )
            for (name, said), at, images in zip(titles(self.method, self.shares), self.at, self.images, strict=True)
        ]
        text = (
            f"{len(self.z)} images of {self.gan.name}. A slider moves the z of all images along one direction, in "
            f"standard deviations of z; the other sliders return to where they started."
        )
        return sliders.page(TITLE, text, found)


TITLE = "Directions of the latent space"
_OF = {"sefa": "first layer's squared weights", "pca": "first layer's variance"}


def titles(method: Method, shares: Tensor) -> list[tuple[str, str]]:
    """A name for each direction, and what it does."""
    return [
        (f"Direction {number}", f"{100 * share:.1f} % of the {_OF[method]}")
        for number, share in enumerate(shares.tolist(), start=1)
    ]


def places(offsets: Tensor) -> tuple[str, ...]:
    """A text for each of (T,) offsets."""
    return tuple(f"{round(offset, 1) + 0.0:+.1f} SD" for offset in offsets.tolist())


def square(images: Tensor) -> NDArray[np.uint8]:
    """(N, C, H, W) uint8 -> a sheet (H', W', 3) of about as many columns as rows."""
    return sheet(images, columns=max(round(len(images) ** 0.5), 1))


def latent_directions(  # noqa: PLR0913 - its settings are keywords
    gan: GAN | str | Path,
    *,
    method: Method = "sefa",
    count: int = 6,
    samples: int = 16,
    reach: float = 3.0,
    steps: int = 13,
    label: str | None = None,
    at: Sequence[float] | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> LatentDirections:
    """Find directions of z that change the images most, and generate images along them. No label is used.

    Args:
        gan: a generator, or the folder of one.
        method: "sefa" takes the eigenvectors of A^T A, where A are the first layer's weights of z (Shen and Zhou 2021);
            "pca" the principal components of the first layer's outputs after batch normalisation, each mapped back to z
            by regression (GANSpace, Harkonen et al. 2020).
        count: directions at most, strongest first; there are as many as z has dimensions.
        samples: images at each offset.
        reach: largest offset, in standard deviations of z.
        steps: offsets from -reach to reach; odd, so that one of them is 0.
        label: the class or cluster of all images; by default classes in turn, and clusters as often as among the
            training images.
        at: where along each direction the images start, in standard deviations of z; by default 0.
        seed: of z.
        session: device and progress; its own seed counts where it is given.

    Raises:
        SettingError: a setting is out of range, or a label is asked of a generator without classes.
        FileError: the folder holds no generator, or a damaged one.
        UnknownNameError: the generator knows no class of that name.

    Example:
        >>> from deepscope.gans import Architecture, Recipe, latent_directions, load_pictures, train_gan
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session(), hold_out=2400)
        >>> small = Architecture(width=2, latent=4)
        >>> trained = train_gan(digits, architecture=small, recipe=Recipe(epochs=1, batch_size=1000))
        >>> latent_directions(trained.gan, count=2, samples=3, steps=5).images.shape
        torch.Size([2, 3, 5, 1, 32, 32])
    """
    session = Session.of(session, seed=seed)
    _check(samples, reach, steps)
    found = find_directions(gan, method=method, count=count, session=session)
    gan, vectors = found.gan, found.vectors
    z, labels, conditions = found.start(samples, label, session)
    start = torch.zeros(len(vectors)) if at is None else torch.tensor(at, dtype=torch.float32)
    z, offsets = z + found.shift(start.tolist()), torch.linspace(-reach, reach, steps)
    offsets[steps // 2] = 0
    moved = z[None, :, None] + offsets[None, None, :, None] * vectors[:, None, None]  # (K, N, T, latent)
    of_each = conditions[None, :, None].expand(moved.shape[:3])
    images = generate(gan.generator, moved.flatten(0, 2), of_each.flatten()).unflatten(0, moved.shape[:3])
    return LatentDirections(gan, method, vectors, found.shares, z, labels, start, offsets, images)


def _check(samples: int, reach: float, steps: int) -> None:
    if samples < 1:
        raise SettingError("samples", "must be at least 1", got=samples)
    if not reach > 0:
        raise SettingError("reach", "must be above 0", got=reach)
    if steps < 3 or steps % 2 == 0:
        raise SettingError("steps", "must be odd and at least 3, so that the middle one is z itself", got=steps)
