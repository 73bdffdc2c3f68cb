"""Bytes to pixels: every image decodes to the RGB picture a person sees, or says why it cannot.

`decode` reads one image; `find` lists the images below what a person named; `stream` reads many,
in batches, decoding ahead in threads, skipping and listing bad ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from PIL import Image

from deepscope.errors import InputError

Source: TypeAlias = "str | Path | bytes | Image.Image | NDArray[Any]"
"""A path, a file's bytes, a decoded image, or an (H, W, 3) or (H, W) uint8 array."""


@dataclass(frozen=True)
class Limits:
    """What is refused before it costs memory: bytes in the file, pixels in the decoded image."""

    bytes: int = 256 * 2**20
    pixels: int = 200 * 10**6


@dataclass(frozen=True)
class Skipped:
    """An input that could not be used, and why, in one line."""

    path: str
    reason: str


class UnreadableImage(InputError):
    """An image cannot be decoded; the message names it and says why."""


@dataclass(frozen=True)
class Found:
    """Image files in order, and the named paths that hold none."""

    paths: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Batch:
    """Consecutive readable images.

    Attributes:
        rows: each image's place in the list that was given to `stream`.
        pixels: (N, ...) stacked output of the transform, N = len(rows).
        skipped: images met while filling this batch that could not be read.
    """

    rows: tuple[int, ...]
    pixels: torch.Tensor
    skipped: tuple[Skipped, ...]


def decode(source: Source, *, at_least: int | None = None, limits: Limits = Limits()) -> Image.Image:
    """One image as upright 8-bit RGB.

    Args:
        source: what to decode.
        at_least: the shorter side may shrink to no less than this while decoding (JPEG only, in
            libjpeg's own steps of 1/2, 1/4, 1/8); None decodes at full size.
        limits: refuse what is larger.

    Raises:
        UnreadableImage: it is missing, empty, truncated, no image, or over a limit.
    """
    raise NotImplementedError


def find(named: Iterable[str | Path]) -> Found:
    """The image files below the named files and folders, folders searched in sorted order."""
    raise NotImplementedError


def stream(
    paths: Iterable[Source],
    transform: Callable[[Image.Image], torch.Tensor],
    *,
    batch_size: int,
    at_least: int | None = None,
    limits: Limits = Limits(),
    threads: int | None = None,
) -> Iterator[Batch]:
    """Decode and transform images in order, in batches of up to `batch_size` readable ones.

    Memory stays flat: at most a few batches are held. A bad image takes no row.
    """
    raise NotImplementedError
