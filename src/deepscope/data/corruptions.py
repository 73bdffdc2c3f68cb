"""Corruptions: the ordinary damage that photographs meet, at the strengths of ImageNet-C.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
ICLR 2019. Of their corruptions those stand here that one formula describes.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deepscope import images
from deepscope.errors import DeepscopeError
from deepscope.registry import Registered
from deepscope.session import Session

SIDE = 256
"""Shorter side, in pixels, at which the strengths mean what they mean in ImageNet-C."""


@dataclass(frozen=True)
class Corruption(Registered):
    """Damage to a photograph, without regard to any network.

    Attributes:
        severity: 1 to 5.
    """

    strengths: ClassVar[tuple[float, ...]]
    """What each severity means for the method, the weakest first."""

    severity: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.severity <= len(self.strengths):
            raise DeepscopeError(
                f"severity {self.severity} is not known: give a number from 1 to {len(self.strengths)}"
            )

    @property
    def strength(self) -> float:
        """What the severity means: a deviation, a factor, a quality."""
        return self.strengths[self.severity - 1]

    def __call__(self, image: Image.Image, rng: torch.Generator) -> Image.Image:
        """The damaged picture, RGB, its shorter side no more than 256 pixels.

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
    """Noise of one deviation in each pixel and channel, as of a sensor in little light.

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
    """Noise of counting photons: the fewer, the more.

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
    """A picture out of focus.

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
    """A picture washed out, as by fog or a dirty pane.

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
    """A picture exposed too long.

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
    """A file saved too small.

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
    """A small picture made large.

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


def check_outside(folder: Path, data: Iterable[Path]) -> None:
    """Refuse a folder to write to that is one of the data's, or lies in one: by links and other spellings too.

    Raises:
        DeepscopeError: it is.
    """
    owned = {(found.st_dev, found.st_ino) for found in (own.stat() for own in data if own.exists())}
    place = folder.resolve()
    for parent in (place, *place.parents):
        if parent.exists() and (parent.stat().st_dev, parent.stat().st_ino) in owned:
            raise DeepscopeError(f"{folder} lies in the data itself ({parent}): name a folder outside of it")


def write_corrupted(
    paths: Sequence[Path], corruption: Corruption, folder: Path, session: Session
) -> tuple[images.Skipped, ...]:
    """Damaged copies of images, as PNG: `folder` has the same folders below it as the images have.

    What is drawn follows from each image's place, so other images change nothing. The folder appears when it is whole.

    Args:
        paths: the images.
        corruption: what happens to them.
        folder: to write to.
        session: seed and progress.

    Returns:
        what could not be read, with the reason.

    Raises:
        DeepscopeError: there is a folder of that name, it lies in the images' own, or no image could be read.
    """
    check_outside(folder, {path.parent for path in paths})
    if folder.exists():
        raise DeepscopeError(f"{folder} is there already: remove it, or name another folder")
    root = Path(os.path.commonpath([path.parent for path in paths]))
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")

    def write(path: Path) -> images.Skipped | None:
        place = path.relative_to(root)
        try:
            image = images.decode(path)
        except images.UnreadableImage as error:
            return images.Skipped(str(path), error.reason)
        to = partial / place.parent / f"{place.stem if stems[path.with_suffix('')] == 1 else place.name}.png"
        to.parent.mkdir(parents=True, exist_ok=True)
        rng = session.rng("corruption", corruption.name, place.as_posix())
        corruption(image, rng).save(to)
        return None

    stems = Counter(path.with_suffix("") for path in paths)
    partial.mkdir(parents=True)
    try:
        with ThreadPoolExecutor(images.decoding_threads()) as pool:
            found = session.track(pool.map(write, paths), f"writing {corruption.name}", total=len(paths))
            skipped = tuple(item for item in found if item is not None)
        if len(skipped) == len(paths):
            raise DeepscopeError(f"none of the {len(paths)} images can be read: {skipped[0].reason}")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return skipped


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1]."""
    pixels: NDArray[np.float32] = np.asarray(image).astype(np.float32)
    pixels /= 255
    return pixels


def _image(pixels: NDArray[np.floating]) -> Image.Image:
    """(H, W, 3), clipped to [0, 1] and rounded to 8 bits."""
    return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))
