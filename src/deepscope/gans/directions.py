"""`find_directions`: directions of z that change one thing at a time, found without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from deepscope.errors import SettingError
from deepscope.gans.networks import Generator
from deepscope.gans.samples import requested
from deepscope.gans.sampling import balanced, generate, latents
from deepscope.gans.saved import GAN, opened
from deepscope.session import Session

Method = Literal["sefa", "pca"]
"""How directions are found."""

_DRAWN = 5000
_AT_ONCE = 500


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions of the latent space, strongest first.

    Attributes:
        gan: the generator.
        method: that found them.
        vectors: (K, latent), of length 1 and orthogonal to each other for "sefa".
        shares: (K,) of what all directions together do to the first layer: of the weights' squared norm for "sefa",
            of the outputs' variance for "pca".
    """

    gan: GAN
    method: Method
    vectors: Tensor
    shares: Tensor

    def start(self, samples: int, label: str | None, session: Session) -> tuple[Tensor, Tensor, Tensor]:
        """z (N, latent), classes (N,) and the generator's conditions (N,) of images; the session's seed draws them."""
        z, labels = requested(self.gan, samples, label, session, "directions")
        return z, labels, self.gan.conditions(labels, session.rng("directions", "clusters"))

    def moved(
        self, offsets: Sequence[float], *, samples: int = 16, label: str | None = None, session: Session
    ) -> Tensor:
        """Images whose z is moved along all directions at once.

        Args:
            offsets: (K,) along each direction, in standard deviations of z.
            samples: images.
            label: the class or cluster of all images; by default as in `latent_directions`.
            session: its seed draws z; the device is the generator's.

        Returns:
            (N, C, H, W) uint8.

        Raises:
            SettingError: there is not one offset per direction, or a label is asked of a generator without classes.
            UnknownNameError: the generator knows no class of that name.
        """
        z, _, conditions = self.start(samples, label, session)
        return generate(self.gan.generator, z + self.shift(offsets), conditions)

    def shift(self, offsets: Sequence[float]) -> Tensor:
        """(latent,) the sum of all directions, (K,) offsets their factors. Raises SettingError for another number."""
        if len(offsets) != len(self.vectors):
            raise SettingError("offsets", f"must be {len(self.vectors)}, one for each direction", got=len(offsets))
        return torch.tensor(offsets, dtype=self.vectors.dtype) @ self.vectors


def find_directions(
    gan: GAN | str | Path, *, method: Method = "sefa", count: int = 6, seed: int = 0, session: Session | None = None
) -> Directions:
    """Find directions of z without generating images along them; arguments and errors as in `latent_directions`.

    Example:
        >>> from deepscope.gans import Architecture, Recipe, find_directions, load_pictures, train_gan
        >>> from deepscope.session import Session
        >>> digits = load_pictures("mnist-extract", 32, Session(), hold_out=2400)
        >>> small = Architecture(width=2, latent=4)
        >>> trained = train_gan(digits, architecture=small, recipe=Recipe(epochs=1, batch_size=1000))
        >>> find_directions(trained.gan, count=2).moved([1.5, -2.0], samples=3, session=Session()).shape
        torch.Size([3, 1, 32, 32])
    """
    if count < 1:
        raise SettingError("count", "must be at least 1", got=count)
    session = Session.of(session, seed=seed)
    gan = opened(gan, session)
    count = min(count, gan.generator.latent)
    if method == "sefa":
        vectors, shares = sefa(gan.generator.start.weight[:, : gan.generator.latent].detach().cpu(), count)
    else:
        drawn = latents(_DRAWN, gan.generator, session.rng("directions", "pca"))
        vectors, shares = principal(drawn, _first_outputs(gan.generator, drawn), count)
    return Directions(gan, method, vectors, shares)


def sefa(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The eigenvectors (K, L) of A^T A with the largest eigenvalues, and these as shares of their sum (K,).

    Args:
        weights: A (M, L), from z of L dimensions.
        count: K, at most L.
    """
    values, vectors = torch.linalg.eigh(weights.double().T @ weights.double())  # smallest first
    strongest = vectors.T.flip(0)[:count]
    return _pointed(strongest).float(), (values.clamp_min(0).flip(0)[:count] / values.sum()).float()


def principal(z: Tensor, outputs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The directions of z (K, L) that belong to the principal components of outputs, and their shares of variance (K,).

    Args:
        z: (N, L) standard normal.
        outputs: (N, M) of a layer.
        count: K; fewer are found where a layer has fewer outputs.
    """
    from sklearn.decomposition import PCA

    found = PCA(min(count, *outputs.shape), svd_solver="randomized", random_state=0)
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
