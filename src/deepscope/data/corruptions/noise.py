"""Noise of cameras and of transmission."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from deepscope.data.corruptions.corruption import Corruption, as_image, as_pixels


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """Gaussian noise of equal variance in each pixel and channel, as in low light.

    Attributes:
        severity: 1 to 5: a standard deviation of 0.08 to 0.38 of the range.
    """

    strengths: ClassVar[tuple[float, ...]] = (0.08, 0.12, 0.18, 0.26, 0.38)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """x + deviation * noise."""
        pixels = as_pixels(image)
        return as_image(pixels + self.strength * torch.randn(pixels.shape, generator=rng).numpy())


@dataclass(frozen=True)
class ShotNoise(Corruption):
    """Poisson (shot) noise of photon counts.

    Attributes:
        severity: 1 to 5: 60 to 3 photons where a channel is brightest.
    """

    strengths: ClassVar[tuple[float, ...]] = (60, 25, 12, 5, 3)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Poisson(photons * x) / photons."""
        photons = torch.from_numpy(as_pixels(image)) * self.strength
        return as_image(torch.poisson(photons, generator=rng).numpy() / self.strength)


@dataclass(frozen=True)
class ImpulseNoise(Corruption):
    """Salt-and-pepper noise, as by bit errors.

    Attributes:
        severity: 1 to 5: 3 % to 27 % of all values are replaced.
    """

    strengths: ClassVar[tuple[float, ...]] = (0.03, 0.06, 0.09, 0.17, 0.27)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Values of single channels become 0 or 1, each in half of the cases."""
        pixels = as_pixels(image)
        replaced = torch.rand(pixels.shape, generator=rng).numpy() < self.strength
        salt = torch.rand(pixels.shape, generator=rng).numpy() < 0.5
        return as_image(np.where(replaced, salt, pixels))
