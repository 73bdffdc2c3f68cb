"""Compression, resolution, contrast and geometry."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepscope.data.corruptions.corruption import Corruption, as_image, as_pixels, uniform


@dataclass(frozen=True)
class Contrast(Corruption):
    """Reduced contrast, as by a dirty pane.

    Attributes:
        severity: 1 to 5: 0.4 to 0.05 of the contrast is left.
    """

    strengths: ClassVar[tuple[float, ...]] = (0.4, 0.3, 0.2, 0.1, 0.05)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Each channel drawn towards its mean."""
        del rng
        pixels = as_pixels(image)
        mean = pixels.mean((0, 1), keepdims=True)
        return as_image((pixels - mean) * self.strength + mean)


@dataclass(frozen=True)
class ElasticTransform(Corruption):
    """Elastic distortion: a random affine map, then random smooth displacements (Simard et al. 2003).

    Attributes:
        severity: 1 to 5. The first two move the image as a whole, the others distort it more and more.
    """

    strengths: ClassVar[tuple[tuple[float, float, float], ...]] = (
        (488, 170.8, 24.4),
        (488, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    )
    """Size of the displacements before smoothing, deviation of the smoothing, reach of the affine map, in pixels of an
    image of 224 pixels."""

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """The displacements are drawn per image. They shrink with smaller images."""
        size = (image.height, image.width)
        share = min(1.0, min(size) / 224)
        corners, moves = uniform(-1, 1, (3, 2), rng), uniform(-1, 1, (2, *size), rng)
        strength = tuple(share * part for part in self.strength)
        return as_image(distorted(as_pixels(image), corners, moves, strength))


@dataclass(frozen=True)
class JpegCompression(Corruption):
    """Strong JPEG compression.

    Attributes:
        severity: 1 to 5: JPEG quality of 25 to 7.
    """

    strengths: ClassVar[tuple[float, ...]] = (25, 18, 15, 10, 7)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Encoded and decoded."""
        del rng
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(self.strength))
        return Image.open(file).convert("RGB")


@dataclass(frozen=True)
class Pixelate(Corruption):
    """Low resolution, enlarged.

    Attributes:
        severity: 1 to 5: 0.6 to 0.25 of each side's pixels are left.
    """

    strengths: ClassVar[tuple[float, ...]] = (0.6, 0.5, 0.4, 0.3, 0.25)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Averaged over boxes, which then are drawn as they are."""
        del rng
        small = (max(int(image.width * self.strength), 1), max(int(image.height * self.strength), 1))
        return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)


def distorted(
    pixels: NDArray[np.floating],
    corners: NDArray[np.float64],
    moves: NDArray[np.float64],
    strength: tuple[float, ...],
) -> NDArray[np.float64]:
    """(H, W, 3) pixels after an affine map and local displacements.

    Args:
        pixels: in [0, 1].
        corners: (3, 2) where three corners of the middle square move, right and down, in [-1, 1].
        moves: (2, H, W) displacements to the right and down before they are smoothed, in [-1, 1].
        strength: see `ElasticTransform.strengths`.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    size, deviation, reach = strength
    turned = _affine(pixels, corners * reach)
    right, down = (gaussian_filter(move, deviation, mode="reflect", truncate=3) * size for move in moves)
    rows, columns = np.indices(pixels.shape[:2])
    places = [rows + down, columns + right]
    channels = (map_coordinates(channel, places, order=1, mode="reflect") for channel in np.moveaxis(turned, 2, 0))
    return np.stack(list(channels), -1)


def _affine(pixels: NDArray[np.floating], moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine map that moves three corners of the middle square.

    OpenCV 4 rounds the places that it reads to a 32nd of a pixel; OpenCV 5 and this function do not.
    """
    from scipy.ndimage import map_coordinates

    height, width = pixels.shape[:2]
    centre, half = np.array([width // 2, height // 2]), min(height, width) // 3
    before = centre + half * np.array([(1, 1), (1, -1), (-1, -1)])
    after = before + moved
    if abs(np.linalg.det(np.column_stack([after, np.ones(3)]))) < 1e-6:  # an image of a few pixels
        return pixels.astype(np.float64)
    back = np.linalg.solve(np.column_stack([after, np.ones(3)]), before)  # (x, y, 1) after -> (x, y) before
    rows, columns = np.indices((height, width))
    x, y = (columns * a + rows * b + c for a, b, c in back.T)
    channels = (map_coordinates(channel, [y, x], order=1, mode="mirror") for channel in np.moveaxis(pixels, 2, 0))
    return np.stack(list(channels), -1).astype(np.float64)
