"""Corruptions: common degradations of photographs, at the severities of ImageNet-C.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
ICLR 2019. Here are those of their corruptions that one formula describes.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepscope.errors import SettingError
from deepscope.registry import EVERY_COMMAND, Registered

SIDE = 256
"""Shorter side, in pixels, for which the severities of ImageNet-C are defined."""


@dataclass(frozen=True)
class Corruption(Registered):
    """A corruption of a photograph, independent of any network.

    Attributes:
        severity: 1 to 5.
    """

    reserved: ClassVar[frozenset[str]] = EVERY_COMMAND | {"data", "figures"}
    strengths: ClassVar[tuple[float, ...]]
    """What each severity means for the method, the weakest first."""

    severity: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.severity <= len(self.strengths):
            raise SettingError("severity", f"must be from 1 to {len(self.strengths)}", got=self.severity)

    @property
    def strength(self) -> float:
        """What the severity means: a deviation, a factor, a quality."""
        return self.strengths[self.severity - 1]

    def __call__(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """The corrupted image, RGB, its shorter side no more than 256 pixels.

        Args:
            image: RGB.
            rng: of noise; the others do not draw.
        """
        return self.damage(shrunk(image), rng)

    @abstractmethod
    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """The same at the size that the image has."""


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    """Gaussian noise of equal deviation in each pixel and channel, as in low light.

    Attributes:
        severity: 1 to 5: a deviation of 0.08 to 0.38 of the range.
    """

    strengths: ClassVar[tuple[float, ...]] = (0.08, 0.12, 0.18, 0.26, 0.38)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """x + deviation * noise."""
        pixels = _pixels(image)
        return _image(pixels + self.strength * torch.randn(pixels.shape, generator=rng).numpy())


@dataclass(frozen=True)
class ShotNoise(Corruption):
    """Poisson (shot) noise of photon counts.

    Attributes:
        severity: 1 to 5: 60 to 3 photons where a channel is brightest.
    """

    strengths: ClassVar[tuple[float, ...]] = (60, 25, 12, 5, 3)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Poisson(photons * x) / photons."""
        photons = torch.from_numpy(_pixels(image)) * self.strength
        return _image(torch.poisson(photons, generator=rng).numpy() / self.strength)


@dataclass(frozen=True)
class GaussianBlur(Corruption):
    """Gaussian blur.

    Attributes:
        severity: 1 to 5: a deviation of 1 to 6 pixels.
    """

    strengths: ClassVar[tuple[float, ...]] = (1, 2, 3, 4, 6)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Each channel smoothed; borders are repeated."""
        from scipy.ndimage import gaussian_filter

        del rng
        return _image(gaussian_filter(_pixels(image), (self.strength, self.strength, 0), mode="nearest"))


@dataclass(frozen=True)
class Contrast(Corruption):
    """Reduced contrast, as by fog or a dirty pane.

    Attributes:
        severity: 1 to 5: 0.4 to 0.05 of the contrast is left.
    """

    strengths: ClassVar[tuple[float, ...]] = (0.4, 0.3, 0.2, 0.1, 0.05)

    def damage(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """Each channel drawn towards its mean."""
        del rng
        pixels = _pixels(image)
        mean = pixels.mean((0, 1), keepdims=True)
        return _image((pixels - mean) * self.strength + mean)


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
        hsv = rgb2hsv(_pixels(image))
        hsv[..., 2] = np.minimum(hsv[..., 2] + self.strength, 1)
        return _image(hsv2rgb(hsv))


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


def shrunk(image: Image.Image) -> Image.Image:
    """The image with a shorter side of no more than 256 pixels."""
    scale = SIDE / min(image.size)
    if scale >= 1:
        return image
    width, height = (round(side * scale) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1]."""
    pixels: NDArray[np.float32] = np.asarray(image).astype(np.float32)
    pixels /= 255
    return pixels


def _image(pixels: NDArray[np.floating]) -> Image.Image:
    """(H, W, 3), clipped to [0, 1] and rounded to 8 bits."""
    return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))
