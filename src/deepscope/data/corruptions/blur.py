"""Blur of lenses, glass and motion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepscope.data.corruptions.corruption import Corruption, as_image, as_pixels, uniform
from deepscope.data.corruptions.geometry import enlarged, smeared


@dataclass(frozen=True)
class GaussianBlur(Corruption):
    """Gaussian blur.

    Attributes:
        severity: 1 to 5: a standard deviation of 1 to 6 pixels.
    """

    strengths: ClassVar[tuple[float, ...]] = (1, 2, 3, 4, 6)
    benchmark: ClassVar[bool] = False

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Each channel smoothed; borders are repeated."""
        del rng
        return as_image(_smooth(as_pixels(image), self.strength))


@dataclass(frozen=True)
class DefocusBlur(Corruption):
    """Defocus: each point becomes a disk.

    Attributes:
        severity: 1 to 5: disks of a radius of 3 to 10 pixels.
    """

    strengths: ClassVar[tuple[tuple[int, float], ...]] = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Each channel correlated with a disk; borders are mirrored."""
        from scipy.ndimage import correlate

        del rng
        return as_image(correlate(as_pixels(image).astype(np.float64), disk(*self.strength)[:, :, None], mode="mirror"))


@dataclass(frozen=True)
class GlassBlur(Corruption):
    """Frosted glass: blurred, pixels displaced at random, blurred again.

    Attributes:
        severity: 1 to 5: a standard deviation of 0.7 to 1.5 pixels, and one to three shifts of up to 1 to 4 pixels.
    """

    strengths: ClassVar[tuple[tuple[float, int, int], ...]] = (
        (0.7, 1, 2),
        (0.9, 2, 1),
        (1, 2, 3),
        (1.1, 3, 2),
        (1.5, 4, 2),
    )

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Displacements are drawn per pixel and pass."""
        deviation, reach, passes = self.strength
        levels = (_smooth(as_pixels(image).astype(np.float64), deviation) * 255).astype(np.uint8)
        for _ in range(passes):
            moves = torch.randint(-reach, reach, (*levels.shape[:2], 2), generator=rng).numpy()
            levels = displaced(levels, moves, reach)
        return as_image(_smooth(levels / 255, deviation))


@dataclass(frozen=True)
class MotionBlur(Corruption):
    """Motion blur: the camera moves while the shutter is open, in a random direction within 45° of the horizontal.

    Attributes:
        severity: 1 to 5: trails of 10 to 20 pixels that fade over 3 to 15.
    """

    strengths: ClassVar[tuple[tuple[int, int], ...]] = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Averaged along the trail; borders are repeated."""
        radius, deviation = self.strength
        angle = float(uniform(-45, 45, (1,), rng)[0])
        return as_image(smeared(as_pixels(image), radius, deviation, angle))


@dataclass(frozen=True)
class ZoomBlur(Corruption):
    """Zoom blur: the camera moves towards the scene while the shutter is open.

    Attributes:
        severity: 1 to 5: enlarged by up to 1.1 to 1.3.
    """

    strengths: ClassVar[tuple[tuple[float, float], ...]] = (
        (1.11, 0.01),
        (1.16, 0.01),
        (1.21, 0.02),
        (1.26, 0.02),
        (1.31, 0.03),
    )

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """The mean of the image and its enlargements."""
        del rng
        pixels = as_pixels(image)
        factors = np.arange(1, *self.strength)
        total = pixels.copy()
        for factor in factors:
            total += enlarged(pixels, factor)
        return as_image(total / (len(factors) + 1))


def disk(radius: int, softness: float) -> NDArray[np.float64]:
    """A disk of sum 1, softened at its edge by a Gaussian of that deviation."""
    from scipy.ndimage import correlate1d

    half = max(radius, 8)
    places = np.arange(-half, half + 1)
    hard = (places[:, None] ** 2 + places**2 <= radius**2).astype(np.float64)
    offsets = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    kernel = np.exp(-(offsets**2) / (2 * softness**2))
    kernel /= kernel.sum()
    return correlate1d(correlate1d(hard / hard.sum(), kernel, 0, mode="mirror"), kernel, 1, mode="mirror")


def displaced(levels: NDArray[np.uint8], moves: NDArray[np.int64], reach: int) -> NDArray[np.uint8]:
    """Pixels that take the values of others nearby, in the order of the published loop: from the last pixel backwards.

    The published function means to swap two pixels, but NumPy's views make it copy the second one. A pixel whose
    partner was visited before it takes the partner's new value, so chains of partners are followed here.

    Args:
        levels: (H, W, 3).
        moves: (H, W, 2) right and down, from -reach to reach - 1.
        reach: pixels along the border that stay as they are: this many at the far end, one more at the near end.
    """
    height, width = levels.shape[:2]
    row, column = np.indices((height, width))
    inside = (row > reach) & (row <= height - reach) & (column > reach) & (column <= width - reach)
    own = row * width + column
    partner = np.where(inside, own + moves[..., 1] * width + moves[..., 0], own).ravel()
    inside, own = inside.ravel(), own.ravel()
    follows = inside & inside[partner] & (partner > own)  # visited before: the loop runs backwards
    link = np.where(follows, partner, own)
    for _ in range(max(1, math.ceil(math.log2(max(len(own), 2))))):
        further = link[link]
        if np.array_equal(further, link):
            break
        link = further
    return levels.reshape(-1, levels.shape[2])[partner[link]].reshape(levels.shape)


def _smooth(pixels: NDArray[np.floating], deviation: float) -> NDArray[np.floating]:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(pixels, (deviation, deviation, 0), mode="nearest")
