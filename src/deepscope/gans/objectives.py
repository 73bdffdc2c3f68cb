"""Adversarial losses: what generator and discriminator minimise, as functions of the discriminator's logits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from deepscope.gans.penalties import Logits, gradient_penalty
from deepscope.registry import EVERY_COMMAND, Registered
from deepscope.settings import Range

Smoothing: TypeAlias = Annotated[float, Range(most=1, below=True)]
"""How far the label of real images is below 1."""


class Objective(Registered):
    """An adversarial loss: one for each network. Logits are (N,), in full precision; losses are scalars."""

    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND | {
        "augment",
        "average",
        "batch_size",
        "beta1",
        "beta2",
        "clusters",
        "conditional",
        "cutout",
        "data",
        "discriminator_steps",
        "discriminator_width",
        "epochs",
        "evaluator",
        "generator_steps",
        "hold_out",
        "judge",
        "label_in_discriminator",
        "latent",
        "normalisation",
        "packing",
        "r1",
        "r1_last",
        "r1_regularised",
        "rate",
        "side",
        "stack",
        "steady",
        "tensorboard",
        "width",
    }
    per_image: ClassVar[bool] = False
    """Whether the penalty needs logits that depend on one image each: no batch normalisation in the discriminator."""
    boundary: ClassVar[float | None] = 0.0
    """The logit above which an image counts as real; None where logits are only compared with each other."""

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss, from its logits of real and of generated images."""

    @abstractmethod
    def generator(self, fake: Tensor) -> Tensor:
        """The generator's loss, from the discriminator's logits of its images."""

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor | None:
        """A term of the discriminator's loss computed from the images themselves; None by default."""
        return None

    def score(self, logits: Tensor) -> Tensor:
        """What is recorded of logits: D(x), the probability of "real", where the loss defines one."""
        return logits


@dataclass(frozen=True)
class NonSaturating(Objective):
    """Equations 4.2 and 4.3: the generator raises log D(G(z)) (Goodfellow et al. 2014).

    Attributes:
        smoothing: of real images' label 1, one-sided (Salimans et al. 2016): 0.1 makes it 0.9.
    """

    smoothing: Smoothing = 0.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Cross-entropy."""
        return _cross_entropy(real, fake, self.smoothing)

    def generator(self, fake: Tensor) -> Tensor:
        """-log D(G(z)); its gradient is large where the discriminator is sure."""
        return softplus(-fake).mean()

    def score(self, logits: Tensor) -> Tensor:
        """D, a probability."""
        return logits.sigmoid()


@dataclass(frozen=True)
class Saturating(Objective):
    """Equation 4.1 as published: the generator lowers log(1 - D(G(z))) (Goodfellow et al. 2014).

    Attributes:
        smoothing: of real images' label 1, one-sided (Salimans et al. 2016): 0.1 makes it 0.9.
    """

    smoothing: Smoothing = 0.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Cross-entropy."""
        return _cross_entropy(real, fake, self.smoothing)

    def generator(self, fake: Tensor) -> Tensor:
        """log(1 - D(G(z))); its gradient vanishes where the discriminator is sure."""
        return -softplus(fake).mean()

    def score(self, logits: Tensor) -> Tensor:
        """D, a probability."""
        return logits.sigmoid()


@dataclass(frozen=True)
class LeastSquares(Objective):
    """LSGAN (Mao et al. 2017), with labels 0 for generated and 1 for real."""

    boundary: ClassVar[float | None] = 0.5

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half the squared distances to the labels."""
        return ((real - 1).square().mean() + fake.square().mean()) / 2

    def generator(self, fake: Tensor) -> Tensor:
        """Half the squared distance to "real"."""
        return (fake - 1).square().mean() / 2


@dataclass(frozen=True)
class Hinge(Objective):
    """The hinge loss (Lim and Ye 2017; Miyato et al. 2018)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Margins of 1 on both sides of 0."""
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        """The score, raised."""
        return -fake.mean()


@dataclass(frozen=True)
class WassersteinGP(Objective):
    """WGAN-GP (Gulrajani et al. 2017). Use it with layer normalisation and about 5 discriminator steps.

    Attributes:
        weight: of the gradient penalty.
    """

    name: ClassVar[str] = "wgan-gp"
    per_image: ClassVar[bool] = True
    boundary: ClassVar[float | None] = None
    example_flags: ClassVar[str] = "--normalisation layer"

    weight: float = 10.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The estimate of the Wasserstein distance, negative."""
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        """The score, raised."""
        return -fake.mean()

    def penalty(self, discriminator: Logits, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
        """Keeps the gradient's norm near 1 between real and generated images."""
        return self.weight * gradient_penalty(discriminator, real, fake, rng)


def _cross_entropy(real: Tensor, fake: Tensor, smoothing: float) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), real images' label lowered by `smoothing`."""
    kept = softplus(-real).mean()
    if smoothing:
        kept = (1 - smoothing) * kept + smoothing * softplus(real).mean()
    return kept + softplus(fake).mean()
