"""Numbers as colours: perceptually uniform, safe for the colour-blind, and never stopped by NaN or infinity."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepscope.render.palette import DIVERGING, MATRIX, MISSING, SEQUENTIAL
from deepscope.render.plots.canvas import Pixels
from deepscope.results import Heatmap


def rgb(colour: str) -> NDArray[np.uint8]:
    """A colour such as "#0072b2" as numbers."""
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)


def contrast(colour: str, ground: NDArray[np.uint8]) -> float:
    """The contrast of text of that colour on that ground, 1 to 21, as WCAG 2 defines it."""
    light, dark = sorted((_luminance(rgb(colour)), _luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: NDArray[np.uint8]) -> float:
    part = colour / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def limits(heatmap: Heatmap) -> tuple[float, float]:
    """The numbers at the ends of the scale: as given, else the finite extremes; signed ones lie around zero."""
    values = np.asarray(heatmap.values, np.float64)
    finite = values[np.isfinite(values)]
    low = heatmap.low if _finite(heatmap.low) else float(finite.min(initial=np.inf)) if finite.size else 0.0
    high = heatmap.high if _finite(heatmap.high) else float(finite.max(initial=-np.inf)) if finite.size else 1.0
    assert low is not None and high is not None
    if heatmap.signed:
        reach = max(abs(low), abs(high))
        return -reach, reach
    return low, high


def position(heatmap: Heatmap) -> NDArray[np.float64]:
    """Where each value lies on the scale, 0 to 1. A flat scale puts all in its middle; NaN stays."""
    low, high = limits(heatmap)
    size = max(abs(low), abs(high)) or 1.0  # divided out first: the widest floats would overflow
    with np.errstate(all="ignore"):
        values = np.asarray(heatmap.values, np.float64) / size
        low, high = low / size, high / size
        if not high > low:
            return np.where(np.isnan(values), np.nan, np.where(values > high, 1.0, np.where(values < low, 0.0, 0.5)))
        return np.clip((values - low) / (high - low), 0.0, 1.0)


def paint(heatmap: Heatmap) -> Pixels:
    """The map as an image: (H, W, 3) uint8; laid over its image, which is greyed, at that image's size."""
    places = position(heatmap)
    colours = ramp(heatmap, places)
    if heatmap.over is None or not heatmap.over.size or not places.size:
        return colours
    height, width = heatmap.over.shape[:2]
    places = _stretch(_nowhere(heatmap, places), width, height)
    colours, alpha = _laid_over(heatmap, places)
    grey = heatmap.over.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.rint(colours * alpha + grey[..., None] * (1 - alpha)).astype(np.uint8)


def overlay(heatmap: Heatmap) -> NDArray[np.uint8]:
    """The map alone as `paint` lays it over an image: (H, W, 4), transparent where it is weak."""
    colours, alpha = _laid_over(heatmap, _nowhere(heatmap, position(heatmap)))
    return np.concatenate([colours, np.rint(255 * alpha).astype(np.uint8)], axis=2)


def _nowhere(heatmap: Heatmap, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN at the weakest place of the scale."""
    return np.nan_to_num(places, nan=0.5 if heatmap.signed else 0.0)


def _laid_over(heatmap: Heatmap, places: NDArray[np.float64]) -> tuple[Pixels, NDArray[np.float64]]:
    """Colours, and how much of them covers the image."""
    # Weak values are transparent, so their end of the ramp (white, black) is left out: it would tint the picture.
    strength = np.abs(places - 0.5) * 2 if heatmap.signed else places
    vivid = 0.5 + np.sign(places - 0.5) * (0.25 + 0.2 * strength) if heatmap.signed else 0.3 + 0.7 * places
    return ramp(heatmap, vivid), 0.9 * strength[..., None]


def ramp(heatmap: Heatmap, places: NDArray[np.float64]) -> Pixels:
    """Positions on the heatmap's scale (0 to 1) as colours."""
    name = DIVERGING if heatmap.signed else MATRIX if heatmap.rows or heatmap.columns else SEQUENTIAL
    colours = matplotlib.colormaps[name](np.nan_to_num(places, nan=0.0), bytes=True)[..., :3]
    return np.where(np.isnan(places)[..., None], rgb(MISSING), colours).astype(np.uint8)


def _stretch(values: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float64)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
