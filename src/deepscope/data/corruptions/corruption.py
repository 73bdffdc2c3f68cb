"""`Corruption`: the family, and what its members share."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepscope.errors import SettingError
from deepscope.registry import EVERY_COMMAND, Registered
from deepscope.session import Session

SIDE = 256
"""Shorter side, in pixels, for which the severities of ImageNet-C are defined."""


@dataclass(frozen=True)
class Corruption(Registered):
    """A corruption of a photograph, independent of any network.

    Attributes:
        severity: 1 to 5.
    """

    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND | {"data", "figures"}
    strengths: ClassVar[tuple[Any, ...]]
    """What each severity means for the method, the weakest first: a number, or several."""
    benchmark: ClassVar[bool] = True
    """Whether it is one of the 15 of ImageNet-C, over which mCE is a mean."""

    severity: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.severity <= len(self.strengths):
            raise SettingError("severity", f"must be from 1 to {len(self.strengths)}", got=self.severity)

    @property
    def strength(self) -> Any:
        """What the severity means: a deviation, a factor, a quality."""
        return self.strengths[self.severity - 1]

    def __call__(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """The corrupted image, RGB, its shorter side no more than 256 pixels.

        Args:
            image: RGB.
            rng: source of all randomness; most corruptions draw nothing.
        """
        return self.damage(shrunk(image), rng)

    def applied(self, image: Image.Image, session: Session) -> Image.Image:
        """The corrupted image, its randomness seeded by the session's seed, the corruption and the image's pixels.

        The result is therefore the same in any batch, order, shard or file format without loss.
        """
        image = shrunk(image)
        digest = hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).hexdigest()
        return self.damage(image, session.rng("corruption", self.name, self.severity, digest))

    @abstractmethod
    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """The same at the size that the image has."""


def shrunk(image: Image.Image) -> Image.Image:
    """The image with a shorter side of no more than 256 pixels."""
    scale = SIDE / min(image.size)
    if scale >= 1:
        return image
    width, height = (round(side * scale) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def as_pixels(image: Image.Image) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1]."""
    pixels: NDArray[np.float32] = np.asarray(image).astype(np.float32)
    pixels /= 255
    return pixels


def as_image(pixels: NDArray[np.floating]) -> Image.Image:
    """(H, W, 3), clipped to [0, 1] and rounded to 8 bits."""
    return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))


def uniform(low: float, high: float, size: tuple[int, ...], rng: torch.Generator) -> NDArray[np.float64]:
    """Uniform draws of that shape."""
    return torch.empty(size, dtype=torch.float64).uniform_(low, high, generator=rng).numpy()
