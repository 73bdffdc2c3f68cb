"""Weather and light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepscope.data.corruptions.corruption import Corruption, as_image, as_pixels, uniform
from deepscope.data.corruptions.geometry import enlarged, fractal, smeared

_GREY = (0.299, 0.587, 0.114)
_ICE = (0.80, 0.92, 1.0)
"""Colour of frost, RGB."""


@dataclass(frozen=True)
class Brightness(Corruption):
    """Overexposure.

    Attributes:
        severity: 1 to 5: 0.1 to 0.5 of the range is added to the value of HSV.
    """

    strengths: ClassVar[tuple[float, ...]] = (0.1, 0.2, 0.3, 0.4, 0.5)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Hue and saturation are kept."""
        from skimage.color import hsv2rgb, rgb2hsv

        del rng
        hsv = rgb2hsv(as_pixels(image))
        hsv[..., 2] = np.minimum(hsv[..., 2] + self.strength, 1)
        return as_image(hsv2rgb(hsv))


@dataclass(frozen=True)
class Fog(Corruption):
    """Fog: fractal clouds are added, and the range is restored.

    Attributes:
        severity: 1 to 5: clouds of 1.5 to 3 times the range, more and more ragged.
    """

    strengths: ClassVar[tuple[tuple[float, float], ...]] = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Clouds are drawn per image."""
        density, decay = self.strength
        pixels = as_pixels(image)
        brightest = float(pixels.max())
        clouds = fractal(image.height, image.width, decay, rng)
        return as_image((pixels + density * clouds[..., None]) * brightest / (brightest + density))


@dataclass(frozen=True)
class Frost(Corruption):
    """Ice crystals on the lens.

    The published corruption blends in crops of photographs of frost, which deepscope does not have: the crystals here
    are the ridges of fractal clouds in the colour of ice, blended with the published weights. Figures therefore
    compare with each other, but not exactly with published ones.

    Attributes:
        severity: 1 to 5: the image's weight is 1 to 0.6, that of the frost 0.4 to 0.75.
    """

    strengths: ClassVar[tuple[tuple[float, float], ...]] = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """The crystals are drawn per image."""
        pixels = as_pixels(image)
        return as_image(blended(pixels, frost(image.height, image.width, rng), *self.strength))


@dataclass(frozen=True)
class Snow(Corruption):
    """Falling snow, and the pale light that goes with it.

    Attributes:
        severity: 1 to 5: more, larger and longer flakes; 0.8 to 0.55 of the image's own light.
    """

    strengths: ClassVar[tuple[tuple[float, ...], ...]] = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )
    """Mean and deviation of the noise, enlargement, threshold, length and fading of the trails, light that is left."""

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Flakes and their direction are drawn per image."""
        pixels = as_pixels(image).astype(np.float64)
        noise = torch.randn(pixels.shape[:2], generator=rng, dtype=torch.float64).numpy()
        angle = float(uniform(-135, -45, (1,), rng)[0])
        return as_image(snowed(pixels, noise, angle, self.strength))


def snowed(
    pixels: NDArray[np.float64], noise: NDArray[np.float64], angle: float, strength: tuple[float, ...]
) -> NDArray[np.float64]:
    """(H, W, 3) pixels under snow.

    Args:
        pixels: in [0, 1].
        noise: (H, W) standard normal.
        angle: direction of the flakes, in degrees.
        strength: see `Snow.strengths`.
    """
    centre, deviation, factor, threshold, length, fading, light = strength
    flakes = enlarged((centre + deviation * noise)[..., None], factor)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1)
    flakes = np.floor(flakes * 255) / 255
    flakes = np.rint(smeared(flakes, int(length), fading, angle) * 255) / 255
    pale = np.maximum(pixels, (pixels @ np.array(_GREY))[..., None] * 1.5 + 0.5)
    return light * pixels + (1 - light) * pale + flakes + np.rot90(flakes, 2)


def frost(height: int, width: int, rng: torch.Generator) -> NDArray[np.float64]:
    """(H, W, 3) ice in [0, 1]: thin ridges where fractal clouds cross their middle, over a thin cover."""
    ridges = np.zeros((height, width))
    for decay in (1.6, 1.9):
        clouds = fractal(height, width, decay, rng)
        ridges = np.maximum(ridges, 1 - np.abs(clouds - np.median(clouds)) / max(float(clouds.std()), 1e-6))
    cover = fractal(height, width, 2, rng)
    return (0.25 + 0.35 * cover + 0.5 * ridges.clip(0, 1) ** 3).clip(0, 1)[..., None] * np.array(_ICE)


def blended(pixels: NDArray[np.floating], ice: NDArray[np.float64], own: float, other: float) -> NDArray[np.floating]:
    """The weighted sum of an image and frost."""
    return own * pixels + other * ice
