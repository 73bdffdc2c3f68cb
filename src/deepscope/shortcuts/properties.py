"""What a file and its pixels have in common with others besides what they show: light, size, compression, patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deepscope import images
from deepscope.errors import DataError
from deepscope.images import Skipped
from deepscope.inputs import nothing_readable
from deepscope.inputs.examples import Source
from deepscope.session import Session

_SIDE = 128
"""Side of the square that colours and patches are measured on."""
_LARGE = 256
"""The longer side at which sharpness is measured, so that it does not depend on the size."""
_WINDOW = 8
"""Side of the windows that are compared between images, two by two in each corner: a sixteenth of the image."""
_PLAIN = 2.0
"""Standard deviation in grey levels below which a row of pixels is a border."""
_OTHERS = 3
"""A patch counts as repeated where this many other images have one like it."""

_FLAT, _SAME = 4.0, 0.5
"""Contrast that even a plain window is given, and distance that even equal ones are, in grey levels."""

MEASURED = (
    *("brightness", "contrast", "saturation", "red-green cast", "blue-yellow cast", "sharpness"),
    *("pixels", "aspect ratio", "border", "bytes per pixel", "JPEG quality"),
)
CORNERS = ("top left", "top right", "bottom left", "bottom right")
NAMES = (*MEASURED, *(f"repeated patch {corner}" for corner in CORNERS))
"""The properties, in the order of `Properties.values`."""


@dataclass(frozen=True, eq=False)
class Properties:
    """Properties of the images that could be read.

    Attributes:
        values: (n, P) one column per name in `NAMES`; NaN where a property does not apply.
        rows: (n,) places in the list of images.
        skipped: the others, and why.
    """

    values: NDArray[np.float64]
    rows: NDArray[np.int64]
    skipped: tuple[Skipped, ...]


def measure(sources: Sequence[Source], session: Session) -> Properties:
    """Measure every image, without labels. Files are opened once.

    Raises:
        DataError: no image could be read.
    """
    rows: list[int] = []
    skipped: list[Skipped] = []
    found: list[Tensor] = []
    numbered = session.track(sources, "properties", total=len(sources))
    for batch in images.stream(numbered, measured, batch_size=64):
        rows += batch.rows
        skipped += batch.skipped
        if batch.rows:
            found.append(batch.pixels)
    if not rows:
        raise DataError(nothing_readable(tuple(skipped)))
    together = torch.cat(found)
    own, corners = together[:, : len(MEASURED)], together[:, len(MEASURED) :]
    patches = repeated_patches(corners, corners, np.ones(len(rows), bool))
    return Properties(torch.cat([own, patches], 1).numpy(), np.array(rows), tuple(skipped))


def measured(source: Source) -> Tensor:
    """Measured properties and the grey levels of the corners' windows, as one float64 vector."""
    image, about = _opened(source)
    square = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    own = [*_colours(square), *_shape(image, about)]
    block = 2 * _WINDOW
    corners = (
        *(square[:block, :block], square[:block, -block:]),
        *(square[-block:, :block], square[-block:, -block:]),
    )
    windows = [
        corner[down : down + _WINDOW, right : right + _WINDOW]
        for corner in corners
        for down in (0, _WINDOW)
        for right in (0, _WINDOW)
    ]
    return torch.from_numpy(np.concatenate([own, *(window.ravel() for window in windows)]))


def _opened(source: Source) -> tuple[Image.Image, images.Encoding]:
    if isinstance(source, Tensor):
        source = (source.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    if isinstance(source, (Image.Image, np.ndarray)):
        image = images.decode(source, at_least=_LARGE)
        width, height = source.size if isinstance(source, Image.Image) else (source.shape[1], source.shape[0])
        return image, images.Encoding("", width, height, 0, math.nan)
    data = source if isinstance(source, bytes) else images.content(source)
    return images.decode_with_encoding(data, at_least=_LARGE)


def _colours(square: NDArray[np.float64]) -> list[float]:
    red, green, blue = np.moveaxis(square, 2, 0)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    saturation = square.max(2) - square.min(2)
    cast = float((red - green).mean()), float((blue - (red + green) / 2).mean())
    return [float(light.mean()), float(light.std()), float(saturation.mean()), *cast]


def _shape(image: Image.Image, about: images.Encoding) -> list[float]:
    grey = np.asarray(image.convert("L"), np.float64)
    area = about.width * about.height
    return [
        _sharpness(image),
        float(area),
        image.width / image.height,
        _border(grey) + _border(grey.T),
        about.length / area if about.length else math.nan,
        about.quality,
    ]


def _sharpness(image: Image.Image) -> float:
    """The logarithm of the Laplacian's variance, at one size for all images."""
    scale = _LARGE / max(image.size)
    size = (max(3, round(image.width * scale)), max(3, round(image.height * scale)))
    grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR), np.float64)
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return float(np.log(laplacian.var() + 1e-3))


def _border(grey: NDArray[np.float64]) -> float:
    """The share of rows, from both ends, that are of one level each."""
    plain = grey.std(1) < _PLAIN
    if plain.all():
        return 1.0
    return float((plain.argmin() + plain[::-1].argmin()) / len(plain))


def repeated_patches(corners: Tensor, others: Tensor, among: NDArray[np.bool_]) -> Tensor:
    """(N, 4) how alike each corner is to the same corner of other images, in view of how much is in it.

    The logarithm of contrast over distance: plain corners (sky, a dark room) are alike by chance, a logo is not.

    Args:
        corners: (N, 4 * 4 * D) grey levels, as `measured` gives them.
        others: (M, 4 * 4 * D) those of the images that they are compared with.
        among: (N,) which of the N are among the M.
    """
    own, theirs = (one.view(len(one), len(CORNERS), 4, -1) for one in (corners, others))
    return torch.stack([_repeated(own[:, at], theirs[:, at], among) for at in range(len(CORNERS))], 1)


def _repeated(windows: Tensor, others: Tensor, among: NDArray[np.bool_]) -> Tensor:
    """(N,) of one corner.

    Args:
        windows: (N, 4, D) grey levels. The most repeated of an image's four windows counts.
        others: (M, 4, D).
        among: (N,) which of the images are among the others, and nearest to themselves.
    """
    nearest = min(_OTHERS, len(others) - 1)
    if nearest < 1:
        return torch.full((len(windows),), math.nan, dtype=torch.float64)
    place = torch.from_numpy(nearest - 1 + among.astype(np.int64))[:, None]
    found = []
    for own, theirs in zip(windows.unbind(1), others.unbind(1), strict=True):
        own, theirs = own.float(), theirs.float()
        ordered = [
            torch.cdist(part, theirs, compute_mode="use_mm_for_euclid_dist").topk(nearest + 1, largest=False)
            for part in own.split(256)
        ]
        distance = torch.cat([each.values for each in ordered]).gather(1, place)[:, 0] / own.shape[1] ** 0.5
        found.append(((own.std(1) + _FLAT) / (distance + _SAME)).double().log())
    return torch.stack(found).amax(0)
