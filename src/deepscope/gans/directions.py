"""`latent_directions`: directions of z that change one thing at a time, found without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.errors import SettingError
from deepscope.gans.networks import Generator
from deepscope.gans.sampling import balanced, generate, latents
from deepscope.gans.saved import GAN, opened
from deepscope.gans.sheets import sheet
from deepscope.render import Presented, sliders
from deepscope.session import Session

Method = Literal["sefa", "pca"]
"""How directions are found."""

_DRAWN = 5000
_AT_ONCE = 500


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
        offsets: (T,) added to z along a direction, in standard deviations of z; the middle one is 0.
        images: (K, N, T, C, H, W) uint8.
    """

    gan: GAN
    method: Method
    vectors: Tensor
    shares: Tensor
    z: Tensor
    labels: Tensor
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
        columns = max(round(len(self.z) ** 0.5), 1)
        places = tuple(f"{offset:+.1f} SD" for offset in self.offsets.tolist())
        found = [
            sliders.Slider(
                f"Direction {number}",
                f"{share:.1%} of the {_OF[self.method]}",
                places,
                tuple(sheet(images[:, step], columns=columns) for step in range(len(places))),
            )
            for number, (share, images) in enumerate(zip(self.shares.tolist(), self.images, strict=True), start=1)
        ]
        text = (
            f"{len(self.z)} images of {self.gan.name}. A slider moves the z of all images along one direction, in "
            f"standard deviations of z; the other sliders return to the middle."
        )
        return sliders.page("Directions of the latent space", text, found)


_OF = {"sefa": "first layer's squared weights", "pca": "first layer's variance"}


def latent_directions(  # noqa: PLR0913 - its settings are keywords
    gan: GAN | str | Path,
    *,
    method: Method = "sefa",
    count: int = 6,
    samples: int = 16,
    reach: float = 3.0,
    steps: int = 13,
    label: str | None = None,
    seed: int = 0,
    session: Session | None = None,
) -> LatentDirections:
    """Find directions of z that change the images most, and generate images along them. No label is used.

    Args:
        gan: a generator, or the folder of one.
        method: "sefa" takes the eigenvectors of A^T A, where A are the first layer's weights of z (Shen and Zhou 2021);
            "pca" the principal components of the first layer's outputs after batch normalisation, each mapped back to z
            by regression (GANSpace, Harkonen et al. 2020).
        count: directions, strongest first.
        samples: images at each offset.
        reach: largest offset, in standard deviations of z.
        steps: offsets from -reach to reach; odd, so that one of them is 0.
        label: the class or cluster of all images; by default classes in turn.
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
    gan = opened(gan, session)
    _check(gan, count, samples, reach, steps)
    rng = session.rng("directions")
    if method == "sefa":
        vectors, shares = sefa(gan.generator.start.weight[:, : gan.generator.latent].detach().cpu(), count)
    else:
        drawn = latents(_DRAWN, gan.generator, rng)
        vectors, shares = principal(drawn, _first_outputs(gan.generator, drawn), count)
    labels = balanced(samples, len(gan.classes)) if label is None else torch.full((samples,), gan.label(label))
    z, offsets = latents(samples, gan.generator, rng), torch.linspace(-reach, reach, steps)
    offsets[steps // 2] = 0
    moved = z[None, :, None] + offsets[None, None, :, None] * vectors[:, None, None]  # (K, N, T, latent)
    of_each = labels[None, :, None].expand(moved.shape[:3])
    images = generate(gan.generator, moved.flatten(0, 2), of_each.flatten()).unflatten(0, moved.shape[:3])
    return LatentDirections(gan, method, vectors, shares, z, labels, offsets, images)


def sefa(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The eigenvectors (K, L) of A^T A with the largest eigenvalues, and these as shares of their sum (K,).

    Args:
        weights: A (M, L), from z of L dimensions.
        count: K, at most L.
    """
    values, vectors = torch.linalg.eigh(weights.double().T @ weights.double())  # smallest first
    strongest = vectors.T.flip(0)[:count]
    return _pointed(strongest).float(), (values.flip(0)[:count] / values.sum()).float()


def principal(z: Tensor, outputs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The directions of z (K, L) that belong to the principal components of outputs, and their shares of variance (K,).

    Args:
        z: (N, L) standard normal.
        outputs: (N, M) of a layer.
        count: K.
    """
    from sklearn.decomposition import PCA

    found = PCA(count, svd_solver="randomized", random_state=0)
    coordinates = torch.from_numpy(found.fit_transform(outputs.numpy()))
    # Coordinates are uncorrelated, so least squares to z is one regression for each; only its direction counts.
    vectors = functional.normalize(coordinates.T.to(z) @ (z - z.mean(0)), dim=1)
    return _pointed(vectors), torch.from_numpy(found.explained_variance_ratio_).float()


def _pointed(vectors: Tensor) -> Tensor:
    """The same directions, each with its largest component positive: both signs are solutions."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1, 1)


@torch.inference_mode()
def _first_outputs(generator: Generator, z: Tensor) -> Tensor:
    """(N, M) after the first layer, less their class's mean: a class is not a direction of z."""
    device = next(generator.parameters()).device
    labels = balanced(len(z), generator.classes)
    outputs = torch.cat(
        [
            generator.eval().first(part.to(device), of_each.to(device)).flatten(1).cpu()
            for part, of_each in zip(z.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)
        ]
    )
    for label in labels.unique():
        outputs[labels == label] -= outputs[labels == label].mean(0)
    return outputs


def _check(gan: GAN, count: int, samples: int, reach: float, steps: int) -> None:
    if not 1 <= count <= gan.generator.latent:
        raise SettingError("count", f"must be from 1 to {gan.generator.latent}, the dimensions of z", got=count)
    if samples < 1:
        raise SettingError("samples", "must be at least 1", got=samples)
    if not reach > 0:
        raise SettingError("reach", "must be above 0", got=reach)
    if steps < 3 or steps % 2 == 0:
        raise SettingError("steps", "must be odd and at least 3, so that the middle one is z itself", got=steps)
