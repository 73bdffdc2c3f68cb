"""Motion, enlargement and fractal maps, which several corruptions use."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from deepscope.data.corruptions.corruption import uniform

_SMALLEST_MAP, _LARGEST_MAP = 256, 1024
"""Sides of a fractal map. It is periodic, so a larger image repeats it."""


def smeared(pixels: NDArray[np.floating], radius: int, deviation: float, angle: float) -> NDArray[np.float64]:
    """Averaged along a line from each pixel, as ImageMagick's motion blur does it.

    Args:
        pixels: (H, W, C).
        radius: half the length of the kernel, in pixels.
        deviation: of the one-sided Gaussian weights along it.
        angle: in degrees.
    """
    length = 2 * radius + 1
    weights = np.exp(-(np.arange(length) ** 2) / (2 * deviation**2))
    weights /= weights.sum()
    down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    height, width = pixels.shape[:2]
    total = np.zeros(pixels.shape)
    for place, weight in enumerate(weights):
        rows = (np.arange(height) + math.ceil(place * down - 0.5)).clip(0, height - 1)
        columns = (np.arange(width) + math.ceil(place * right - 0.5)).clip(0, width - 1)
        total += weight * pixels[rows][:, columns]
    return total


def enlarged(pixels: NDArray[np.floating], factor: float) -> NDArray[np.floating]:
    """The middle of (H, W, C) pixels, enlarged by linear interpolation to the size of the whole."""
    from scipy.ndimage import zoom

    sides = pixels.shape[:2]
    kept = [math.ceil(side / factor) for side in sides]
    top, left = ((side - part) // 2 for side, part in zip(sides, kept))
    middle = pixels[top : top + kept[0], left : left + kept[1]]
    large = np.asarray(zoom(middle, (factor, factor, 1), order=1))
    top, left = ((grown - side) // 2 for grown, side in zip(large.shape, sides))
    return large[top : top + sides[0], left : left + sides[1]]


def fractal(height: int, width: int, decay: float, rng: torch.Generator) -> NDArray[np.float64]:
    """(H, W) clouds in [0, 1], by the diamond-square algorithm (Fournier, Fussell and Carpenter 1982).

    Args:
        height, width: of the map.
        decay: factor by which the random part shrinks from scale to scale.
        rng: draws the random parts.
    """
    side = min(max(_SMALLEST_MAP, 2 ** math.ceil(math.log2(max(height, width)))), _LARGEST_MAP)
    levels = np.zeros((side, side))
    step, spread = side, 100.0
    while step >= 2:
        half = step // 2

        def noisy(total: NDArray[np.float64], spread: float = spread) -> NDArray[np.float64]:
            return total / 4 + spread * uniform(-spread, spread, total.shape, rng)

        corners = levels[::step, ::step]
        across = corners + np.roll(corners, -1, 0)
        levels[half::step, half::step] = noisy(across + np.roll(across, -1, 1))
        centres = levels[half::step, half::step]
        levels[::step, half::step] = noisy(centres + np.roll(centres, 1, 0) + corners + np.roll(corners, -1, 1))
        levels[half::step, ::step] = noisy(centres + np.roll(centres, 1, 1) + corners + np.roll(corners, -1, 0))
        step, spread = half, spread / decay
    levels -= levels.min()
    levels /= levels.max()
    return levels[np.arange(height)[:, None] % side, np.arange(width) % side]
